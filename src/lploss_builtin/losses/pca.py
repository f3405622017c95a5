"""Losses against poses that lie outside the subspace of the labelled ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from lploss import Loss, Metric, Reason
from lploss.errors import ArgumentValueError, NotFittedError, ShapeError
from lploss.reduction import NanPredictions, Sync, checked_sync
from lploss.validity import Validity
from lploss_builtin.data.cameras.calibration import read_calibration
from lploss_builtin.data.poses.labels import LabelledKeypoints, labels_of_all
from lploss_builtin.losses import pca_fit
from lploss_builtin.losses.pca_fit import CenteringMethod, Fit, FitReport, centred, rows_of
from lploss_builtin.ops import keypoints, subspace
from lploss_builtin.ops.geometry import Cameras
from lploss_builtin.ops.precision import at_least_float32, without_autocast

# Fitted quantities whose shapes depend on the fit.
_SHAPED = ("columns", "mean", "components", "explained_variance_ratio", "missing_share")
# A checkpoint holds a method of centring by its place here.
_CENTERING: tuple[CenteringMethod, ...] = (None, "mean", "median")


class PCALoss(Loss):
    r"""Distance of each predicted keypoint from the subspace of the labelled poses.

    .. math:: \ell_{bk} = \lVert (r_b - W^T W r_b)_k \rVert_2, \quad r_b = x_b - \bar x

    ``pca_singleview`` takes a whole pose as one row; its subspace keeps a number of components
    or a share of the variance. ``pca_multiview`` takes one keypoint in all views as one row;
    its subspace always keeps 3 components, for x, y and z, whatever ``components_to_keep`` says.

    The fit uses every label: it starts from the covariance of each two coordinates over the
    frames that have both, and makes it the most likely one, given the gaps, by expectation
    maximisation. ``pca_multiview`` may take its subspace from calibrated cameras instead, given as
    ``calibration``: that of the points which all cameras see. Only cameras far away for the size
    of the scene have one, and others are refused. Everything fitted lives in buffers, so a
    checkpoint restores the loss without training data: build it with ``data_module=None`` and
    load the state.

    Under ``torch.distributed`` the fit is to the labels of all processes, and the same in all of
    them. So they must all build the loss, and where one of them has no labels, it gives an array
    of no rows. Where all hold the very same labels, these count once.

    Args:
        loss_name: ``"pca_singleview"`` or ``"pca_multiview"``.
        components_to_keep: number of components (an integer of at least 1), or the share of
            variance that they must explain (0 to 1).
        empirical_epsilon_percentile: where ``epsilon`` is ``None``, it is this percentile of
            the errors of the labelled poses, or of the points that all cameras see; 0 to 100.
        epsilon: errors of at most this cost nothing; at least 0, px; ``None``: from the
            percentile.
        empirical_epsilon_multiplier: multiplies the percentile; at least 0.
        mirrored_column_matches: for ``pca_multiview``: a list for each view with the indices of
            its keypoints, in the same order in all views. For labels that come as one file a
            view: one flat list for the same keypoints of every view; ``None``: all of them. A
            checkpoint brings its own.
        columns_for_singleview_pca: for ``pca_singleview``: indices of the keypoints to use;
            ``None``: all.
        data_module: the labelled poses: see `lploss_builtin.data.poses.labels.labelled_keypoints`.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``.
        device: where the buffers are put at first.
        calibration: for ``pca_multiview``: the cameras, or a file of them, to take the subspace
            from instead of the labels; views are in the order of the cameras. See
            `lploss_builtin.data.cameras.calibration.read_calibration`.
        view_names: names of the views in their order, for the cameras of a file, which may have
            another one, or more cameras; ``None``: the order of the file.
        max_deviation: with ``calibration``: the cameras are too perspective where the 99th
            percentile of the error of points that all of them see is above this; px.
        centering_method: for ``pca_singleview``: subtract from each pose the ``"mean"`` or
            ``"median"`` of its keypoints; ``None``: do not.
        sync: whether the fit is to the labels of all processes of ``torch.distributed``, where
            there are several: ``"auto"`` and ``True``; all of them must then build the loss, those
            without labels too. A factory hands its own ``sync`` on.
        nan_predictions: what a prediction that is not finite does: ``"propagate"`` makes the
            loss NaN, ``"leave_out"`` leaves its elements out; see `lploss.Loss`.

    Returns:
        Element-wise ``(batch, num_keypoints_used)``, px; for ``pca_multiview`` all keypoints
        of view 0, then of view 1, and so on.

    Raises:
        ArgumentValueError: an argument's value cannot be used.
        FitError: too few labels; the message names the keypoints that cost the most rows. Or the
            calibrated cameras are too perspective.
        DataError: ``data_module`` holds no labelled keypoints.
        NotFittedError: the loss is used without a fit.
        ShapeError: the batch does not have the keypoints of the fit.

    Source: Biderman et al., Lightning Pose, Nature Methods 2024.

    Example:
        >>> x = torch.linspace(0.0, 9.0, 10)
        >>> poses = torch.stack([x, 2 * x, 3 * x, x.square()], dim=1)
        >>> loss = PCALoss("pca_singleview", components_to_keep=2, data_module=poses, epsilon=0.0)
        >>> loss.elementwise(keypoints_pred=poses[:1]).round(decimals=3).abs()
        tensor([[0., 0.]])
        >>> loss.fit_report.rows_used, loss.fit_report.components_kept
        (10, 2)
    """

    loss_names = ("pca_singleview", "pca_multiview")
    kind = "unsupervised"
    unit = "px"
    config_paths: ClassVar[Mapping[str, str]] = {
        "mirrored_column_matches": "data.mirrored_column_matches",
        "columns_for_singleview_pca": "data.columns_for_singleview_pca",
        "view_names": "data.view_names",
    }

    _FITTED: ClassVar[Mapping[str, torch.dtype]] = {
        "columns": torch.long,
        "mean": torch.float32,
        "components": torch.float32,
        "explained_variance_ratio": torch.float32,
        "negative_variance_share": torch.float32,
        "missing_share": torch.float32,
        "fit_rows": torch.long,
        "centering": torch.long,
    }

    columns: Tensor
    mean: Tensor
    components: Tensor
    explained_variance_ratio: Tensor
    negative_variance_share: Tensor
    missing_share: Tensor
    fit_rows: Tensor
    centering: Tensor

    def __init__(
        self,
        loss_name: Literal["pca_singleview", "pca_multiview"],
        components_to_keep: int | float = 0.95,
        empirical_epsilon_percentile: float = 99.0,
        epsilon: float | None = None,
        empirical_epsilon_multiplier: float = 1.0,
        mirrored_column_matches: Sequence[Sequence[int]] | Sequence[int] | None = None,
        columns_for_singleview_pca: Sequence[int] | None = None,
        data_module: Any = None,
        log_weight: float = 0.0,
        device: str | torch.device = "cpu",
        centering_method: CenteringMethod = None,
        calibration: Cameras | str | PathLike[str] | None = None,
        view_names: Sequence[str] | None = None,
        max_deviation: float = 5.0,
        sync: Sync = False,
        nan_predictions: NanPredictions = "propagate",
    ) -> None:
        super().__init__(
            epsilon=0.0 if epsilon is None else epsilon,
            log_weight=log_weight,
            nan_predictions=nan_predictions,
        )
        if loss_name not in self.loss_names:
            raise ArgumentValueError(
                f"loss_name must be {' or '.join(map(repr, self.loss_names))}, got {loss_name!r}",
                argument="loss_name",
            )
        self.loss_name = loss_name
        self.metric = Metric(name=f"{loss_name}_error")
        if self.epsilon.ndim:
            raise self._error("epsilon", "epsilon must be one number or None", epsilon)
        if centering_method not in _CENTERING:
            raise self._error(
                "centering_method",
                "centering_method must be 'mean', 'median' or None",
                centering_method,
            )
        if centering_method is not None and self._is_multiview:
            raise self._error(
                "centering_method", "centering_method is for pca_singleview only", centering_method
            )
        self.centering_method = centering_method
        self.components_to_keep = self._checked_components(components_to_keep)
        self.empirical_epsilon_percentile = self._number(
            "empirical_epsilon_percentile", empirical_epsilon_percentile, 0.0, 100.0
        )
        self.empirical_epsilon_multiplier = self._number(
            "empirical_epsilon_multiplier", empirical_epsilon_multiplier, 0.0
        )
        self._keypoint_names: list[str] = []
        for name, dtype in self._FITTED.items():
            self.register_buffer(name, torch.zeros(0, dtype=dtype))
        self.max_deviation = self._number("max_deviation", max_deviation, 0.0)
        checked_sync(sync, f"loss {loss_name!r}: ")
        cameras = self._checked_cameras(calibration, view_names)
        # With cameras nothing is fitted to the labels.
        labelled = labels_of_all(data_module, sync if cameras is None else False)
        views = self._checked_columns(
            mirrored_column_matches,
            columns_for_singleview_pca,
            labelled,
            None if cameras is None else cameras.num_views,
        )
        if views is not None:
            self.columns = torch.tensor(views, dtype=torch.long)
        if cameras is not None:
            self._fit_to_cameras(cameras, labelled, empirical_epsilon=epsilon is None)
        elif labelled is not None:
            self._fit(labelled, empirical_epsilon=epsilon is None)
        self.to(device)

    @property
    def fit_report(self) -> FitReport:
        """What the fit was made of; restored from a checkpoint too.

        Raises:
            NotFittedError: there was no fit.
        """
        self._check_fitted()
        rows = self.fit_rows.tolist()
        used, dropped, complete = (rows[0], 0, rows[0]) if self._is_from_cameras else rows
        names = self._keypoint_names or [f"keypoint {i}" for i in range(len(self.missing_share))]
        return FitReport(
            used,
            dropped,
            complete,
            dict(zip(names, self.missing_share.tolist(), strict=True)),
            tuple(self.explained_variance_ratio.tolist()),
            len(self.components),
            float(self.negative_variance_share),
            float(self.epsilon),
        )

    @classmethod
    def example(cls, name: str, /, **params: Any) -> PCALoss:
        """Return a loss that is fitted to poses of four keypoints, two in each of two views."""
        generator = torch.Generator().manual_seed(0)
        mixing = torch.randn(8, 8, generator=generator)
        poses = 100 + 10 * torch.randn(64, 8, generator=generator) @ mixing
        fitted = {"data_module": poses, "mirrored_column_matches": [[0, 1], [2, 3]]}
        return cls.create(name, **{"epsilon": 0.0, **fitted, **params})

    @classmethod
    def variants(cls, name: str, /) -> Sequence[Mapping[str, Any]]:
        """Return arguments for each way of centring, of choosing columns, and of fitting."""
        if name == "pca_singleview":
            return [
                {"centering_method": "mean", "components_to_keep": 2},
                {"centering_method": "median", "columns_for_singleview_pca": [0, 2, 3]},
            ]
        # Two cameras far away, at a right angle; one hangs upside down.
        intrinsics = torch.tensor([[1e5, 0.0, 128.0], [0.0, 1e5, 128.0], [0.0, 0.0, 1.0]])
        ahead = torch.eye(3, 4)
        aside = torch.tensor([[0.0, 0.0, -1.0, 0.0], [0.0, -1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]])
        ahead[2, 3] = aside[2, 3] = 1000.0
        cameras = Cameras(
            intrinsics.expand(2, 3, 3),
            torch.stack([ahead, aside]),
            image_sizes=2 * ((256, 256),),
        )
        matches = [[0], [0]]  # without labels, batches may have any number of keypoints
        calibrated = {"calibration": cameras, "mirrored_column_matches": matches}
        return [
            {"data_module": None, **calibrated},
            {"epsilon": None, "empirical_epsilon_percentile": 50.0},
        ]

    @property
    def axis_sizes(self) -> Mapping[str, int]:
        """The number of keypoints of the labels."""
        fitted = len(self.missing_share)
        return {"num_keypoints": fitted} if fitted and not self._is_from_cameras else {}

    def remove_nans(
        self, keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"]
    ) -> tuple[Mapping[str, Tensor], Validity]:
        self._check_fitted()
        self._check_keypoints(keypoints_pred.shape[1] // 2)
        spoilt = ~keypoints.is_present(keypoints_pred)
        return (
            {"keypoints_pred": keypoints.without_gaps(keypoints_pred)},
            {Reason.NAN_PREDICTION: self._spoilt_elements(spoilt)},
        )

    def compute_loss(
        self, keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"]
    ) -> Float[Tensor, "batch num_keypoints_used"]:
        with without_autocast(keypoints_pred.device):
            rows = rows_of(at_least_float32(keypoints_pred), self.columns)
            return self._errors(centred(rows, self.centering_method))

    def element_names(self, keypoint_names: Sequence[str]) -> list[str]:
        """Return the names of the keypoints used, view by view."""
        if not self.columns.numel():
            return list(keypoint_names)
        return [keypoint_names[column] for column in self.columns.flatten().tolist()]

    @property
    def _is_multiview(self) -> bool:
        return self.loss_name == "pca_multiview"

    @property
    def _is_from_cameras(self) -> bool:
        # Their fit has one number of rows, that to labels three: known to Python, unlike a value.
        return len(self.fit_rows) == 1

    def _errors(
        self, rows: Float[Tensor, "num_rows dim"]
    ) -> Float[Tensor, "batch num_keypoints_used"]:
        mean, components = self.mean.to(rows.dtype), self.components.to(rows.dtype)
        outside = subspace.residual(rows, mean, components)
        if self._is_multiview:
            points = rearrange(
                outside,
                "(batch k) (view xy) -> batch (view k) xy",
                k=self.columns.shape[1],
                xy=2,
            )
        else:
            points = keypoints.split_xy(outside)
        return torch.linalg.vector_norm(points, dim=-1)

    def _spoilt_elements(
        self, spoilt: Bool[Tensor, "batch num_keypoints"]
    ) -> Bool[Tensor, "batch num_keypoints_used"]:
        """Return which elements a missing keypoint spoils: all those of its row."""
        if self._is_multiview:
            rows = spoilt[:, self.columns].any(dim=1, keepdim=True)
            return rearrange(
                rows.expand(-1, len(self.columns), -1), "batch view k -> batch (view k)"
            )
        used = spoilt[:, self.columns]
        return used.any(dim=1, keepdim=True).expand_as(used)

    def _fit(self, labelled: LabelledKeypoints, *, empirical_epsilon: bool) -> None:
        num_keypoints = labelled.keypoints.shape[1] // 2
        if not self.columns.numel():
            self.columns = torch.arange(num_keypoints)
        if (largest := int(self.columns.max())) >= num_keypoints:
            raise self._error(
                "mirrored_column_matches" if self._is_multiview else "columns_for_singleview_pca",
                f"the indices of keypoints must be below {num_keypoints}, the number of "
                "labelled keypoints",
                largest,
            )
        fit = pca_fit.fit_to_labels(
            self.loss_name,
            labelled,
            self.columns,
            components_to_keep=3 if self._is_multiview else self.components_to_keep,
            centering_method=self.centering_method,
            epsilon_from_errors=empirical_epsilon,
        )
        self._keypoint_names = [labelled.name(i) for i in range(num_keypoints)]
        self._take(fit, empirical_epsilon=empirical_epsilon)

    def _fit_to_cameras(
        self, cameras: Cameras, labelled: LabelledKeypoints | None, *, empirical_epsilon: bool
    ) -> None:
        num_keypoints = int(self.columns.max()) + 1
        if labelled is not None:
            num_keypoints = labelled.keypoints.shape[1] // 2
            self._keypoint_names = [labelled.name(i) for i in range(num_keypoints)]
        fit = pca_fit.fit_to_cameras(self.loss_name, cameras, num_keypoints, self.max_deviation)
        self._take(fit, empirical_epsilon=empirical_epsilon)

    def _take(self, fit: Fit, *, empirical_epsilon: bool) -> None:
        self.mean, self.components = fit.mean.float(), fit.components.float()
        self.explained_variance_ratio = fit.explained_variance_ratio.float()
        self.negative_variance_share = fit.negative_variance_share.float()
        self.missing_share = fit.missing_share.float()
        self.centering = torch.tensor(_CENTERING.index(self.centering_method))
        self.fit_rows = torch.tensor(fit.rows)
        if empirical_epsilon:
            percentile = np.percentile(fit.errors.numpy(), self.empirical_epsilon_percentile)
            self.epsilon = torch.tensor(float(percentile) * self.empirical_epsilon_multiplier)

    def _checked_components(self, components: Any) -> int | float:
        number = isinstance(components, Real) and not isinstance(components, bool)
        if number and isinstance(components, Integral) and int(components) >= 1:
            return int(components)
        if number and isinstance(components, float) and 0.0 < components <= 1.0:
            return components
        raise self._error(
            "components_to_keep",
            "components_to_keep must be a number of components (an integer of at least 1) or a "
            "share of variance (a float above 0, up to 1)",
            components,
        )

    def _checked_cameras(
        self, calibration: Any, view_names: Sequence[str] | None
    ) -> Cameras | None:
        if calibration is None:
            return None
        if not self._is_multiview:
            raise self._error("calibration", "calibration is for pca_multiview only", calibration)
        cameras = calibration
        if isinstance(calibration, str | PathLike):
            cameras = read_calibration(calibration)
            if view_names and not set(view_names) <= set(cameras.names or ()):
                expected, there = (", ".join(names or ()) for names in (view_names, cameras.names))
                raise self._error(
                    "calibration",
                    f"calibration must hold a camera for each of the views {expected}, it holds "
                    f"those of {there}",
                    str(calibration),
                )
            cameras = cameras.select(view_names) if view_names else cameras
        is_rig = isinstance(cameras, Cameras) and cameras.intrinsics.ndim == 3
        if not is_rig or cameras.num_views < 2:
            raise self._error(
                "calibration",
                "calibration must be Cameras without a batch axis, or a file of them, at least two",
                calibration,
            )
        return cameras

    def _checked_columns(
        self,
        matches: Any,
        columns: Any,
        labelled: LabelledKeypoints | None,
        num_cameras: int | None,
    ) -> list[list[int]] | list[int] | None:
        """Return the indices of the keypoints used: for multi-view a list a view."""
        if not self._is_multiview:
            return None if columns is None else self._indices("columns_for_singleview_pca", columns)
        if isinstance(matches, np.ndarray | Tensor):
            matches = matches.tolist()
        form = "mirrored_column_matches must hold a list of keypoint indices for each view"
        is_flat = matches is None or _is_flat(matches)
        if labelled is None and num_cameras is None and is_flat:
            return None  # to be restored from a checkpoint, which holds the columns
        num_views = num_cameras or (1 if labelled is None else labelled.num_views)
        if labelled is not None and is_flat and (matches or num_views > 1):
            per_view, rest = divmod(labelled.keypoints.shape[1] // 2, num_views)
            if num_views < 2 or rest:
                raise self._error(
                    "mirrored_column_matches",
                    f"{form}; one flat list needs labels of several views",
                    matches,
                )
            same = range(per_view) if matches is None else matches
            matches = [[view * per_view + index for index in same] for view in range(num_views)]
        if (
            not isinstance(matches, Sequence)
            or isinstance(matches, str)
            or not matches
            or _is_flat(matches)
        ):
            raise self._error("mirrored_column_matches", form, matches)
        views = [self._indices("mirrored_column_matches", view) for view in matches]
        if len(views) < 2 or len({len(view) for view in views}) > 1:
            raise self._error(
                "mirrored_column_matches",
                f"{form}, of the same length, for at least two views",
                matches,
            )
        if num_cameras is not None and len(views) != num_cameras:
            raise self._error(
                "mirrored_column_matches", f"{form}, for each of the {num_cameras} cameras", matches
            )
        return views

    def _indices(self, argument: str, indices: Any) -> list[int]:
        if isinstance(indices, np.ndarray | Tensor):
            indices = indices.tolist()
        if isinstance(indices, Sequence) and not isinstance(indices, str) and len(indices):
            numbers = [i for i in indices if isinstance(i, int) and not isinstance(i, bool)]
            if len(numbers) == len(indices) == len(set(numbers)) and min(numbers) >= 0:
                return numbers
        raise self._error(argument, f"{argument} must hold different indices, from 0 on", indices)

    def _error(self, argument: str, expected: str, came: Any) -> ArgumentValueError:
        return ArgumentValueError(
            f"loss {self.loss_name!r}: {expected}, got {came!r}", argument=argument
        )

    def _check_fitted(self) -> None:
        if not self.components.numel():
            raise NotFittedError(
                f"loss {self.loss_name!r} is not fitted: build it with data_module=..., the "
                "labelled keypoints, or load a checkpoint into it"
            )

    def _check_keypoints(self, num_keypoints: int) -> None:
        # Cameras alone do not say how many keypoints there are beyond those used.
        if num_keypoints < len(self.missing_share):
            raise ShapeError(
                f"loss {self.loss_name!r}: the keypoints of the views need indices up to "
                f"{len(self.missing_share) - 1}, the batch has {num_keypoints} keypoints."
            )

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        stored = {name: state_dict.get(prefix + name, getattr(self, name)) for name in self._FITTED}
        if refusal := self._refusal(stored):
            *_, errors = args
            where = f" at {prefix!r}" if prefix else ""
            errors.append(f"loss {self.loss_name!r}: the checkpoint{where} {refusal}")
            return
        # How large the fitted quantities are is known only from the fit, or from a checkpoint.
        for name, value in stored.items():
            setattr(self, name, getattr(self, name).new_zeros(value.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)
        if self.centering.numel():
            self.centering_method = _CENTERING[int(self.centering)]

    def _refusal(self, stored: Mapping[str, Tensor]) -> str | None:
        """Return why the fit that a checkpoint holds cannot be loaded; ``None`` where it can."""
        columns, shares = stored["columns"], stored["missing_share"]
        if columns.numel() and (columns.ndim == 2) is not self._is_multiview:
            return f"is of another loss than {self.loss_name}."
        came = {name: tuple(stored[name].shape) for name in _SHAPED}
        if self.components.numel():
            fitted = {name: tuple(getattr(self, name).shape) for name in _SHAPED}
            if came != fitted:
                return (
                    f"holds another fit: {_shapes(came)}. This loss was fitted to "
                    f"{len(self.missing_share)} keypoints and keeps {len(self.components)} "
                    f"components: {_shapes(fitted)}. Fit it to the keypoints and with the "
                    "components_to_keep of the checkpoint, or build it with data_module=None to "
                    "take the fit of the checkpoint."
                )
        dim = 2 * len(columns)
        is_whole = (
            came["mean"] == came["explained_variance_ratio"] == (dim,)
            and came["components"] == (len(stored["components"]), dim)
            and 0 < len(stored["components"]) < max(dim, 1)
            and came["missing_share"] == (shares.numel(),)
            and int(columns.max()) < shares.numel()
        )
        is_unfitted = not any(stored[name].numel() for name in _SHAPED if name != "columns")
        if is_whole or is_unfitted:
            return None
        return (
            f"holds no whole fit: {_shapes(came)}. With {len(columns)} "
            f"{'views' if self._is_multiview else 'keypoints'} in columns, mean must have shape "
            f"({dim},) and components (number of components, {dim}). The checkpoint was changed or "
            "is damaged."
        )


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _is_flat(matches: Any) -> bool:
    return isinstance(matches, Sequence) and all(isinstance(index, int) for index in matches)
