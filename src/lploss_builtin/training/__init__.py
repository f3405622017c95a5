"""What training adds to a batch and to the losses: schedules, masks, augmentation."""
