"""Calibrated cameras, as values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lploss.errors import ArgumentValueError, InputTypeError, ShapeError, did_you_mean
from lploss_builtin.ops.precision import best_float, without_autocast

_Change = Callable[[Tensor], Tensor]

#: How many distortion coefficients OpenCV knows: none; k1 k2 p1 p2; k3; k4 k5 k6; s1 to s4;
#: tau_x tau_y.
NUM_COEFFICIENTS = (0, 4, 5, 8, 12, 14)


@dataclass(frozen=True, eq=False, repr=False)
class Cameras:
    """The calibrated cameras of a rig, shared by a batch or different for each of its elements.

    The conventions are OpenCV's: ``X_cam = R X_world + t``; a camera looks along its z axis; the
    coefficients of the distortion are k1 k2 p1 p2, then k3, k4 k5 k6, s1 s2 s3 s4, tau_x tau_y.
    Pixels need not be square, and axes of the sensor may be skewed.

    Args:
        intrinsics: upper triangular, px.
        extrinsics: ``[R | t]``, world to camera; t in the unit of the calibration.
        distortions: 0, 4, 5, 8, 12 or 14 coefficients; ``None``: no distortion.
        image_sizes: width and height of each camera's images, px, where they are known.
        names: names of the cameras, where they have some.

    Raises:
        InputTypeError: what must be a tensor is none.
        ShapeError: the tensors do not fit together.
        ArgumentValueError: there are not as many names or image sizes as cameras.

    Example:
        >>> pinhole = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> poses = torch.eye(3, 4).expand(2, 3, 4)
        >>> cameras = Cameras(pinhole.expand(2, 3, 3), poses, names=("left", "right"))
        >>> cameras.num_views, cameras.select(["right"]).names
        (2, ('right',))
    """

    intrinsics: Float[Tensor, "*batch views 3 3"]
    extrinsics: Float[Tensor, "*batch views 3 4"]
    distortions: Float[Tensor, "*batch views num_coefficients"] | None = None
    image_sizes: tuple[tuple[float, float], ...] | None = None
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for what in ("intrinsics", "extrinsics", "distortions"):
            value = getattr(self, what)
            if not isinstance(value, Tensor) and not (what == "distortions" and value is None):
                raise InputTypeError(
                    f"{what} must be a torch.Tensor, got {type(value).__qualname__}. "
                    "Cameras.from_opencv takes arrays and lists."
                )
        shape = tuple(self.intrinsics.shape)
        if len(shape) not in (3, 4) or shape[-2:] != (3, 3):
            raise ShapeError(
                "intrinsics must have axes (views, 3, 3) or (batch, views, 3, 3), got shape "
                f"{shape}"
            )
        if tuple(self.extrinsics.shape) != (*shape[:-2], 3, 4):
            raise ShapeError(
                f"extrinsics must have shape {(*shape[:-2], 3, 4)} to go with intrinsics of shape "
                f"{shape}, got {tuple(self.extrinsics.shape)}"
            )
        if self.distortions is not None:
            came = tuple(self.distortions.shape)
            if came[:-1] != shape[:-2] or came[-1] not in NUM_COEFFICIENTS:
                numbers = ", ".join(map(str, NUM_COEFFICIENTS))
                raise ShapeError(
                    f"distortions must have shape {shape[:-2]} and one of {numbers} coefficients, "
                    f"as OpenCV orders them, got shape {came}"
                )
        for what, values in (("names", self.names), ("image_sizes", self.image_sizes)):
            if values is not None and len(values) != self.num_views:
                raise ArgumentValueError(
                    f"{what} must hold one entry for each of {self.num_views} cameras, got "
                    f"{len(values)}"
                )
        if self.names is not None and len(set(self.names)) < len(self.names):
            raise ArgumentValueError(f"names must differ, got {', '.join(self.names)}")
        for size in self.image_sizes or ():
            if len(size) != 2 or not min(size) > 0:
                raise ArgumentValueError(
                    f"image_sizes must hold width and height for each camera, px, got {size}"
                )

    @classmethod
    def from_opencv(
        cls,
        camera_matrices: Any,
        rotations: Any,
        translations: Any,
        distortions: Any = None,
        *,
        image_sizes: Sequence[tuple[float, float]] | None = None,
        names: Sequence[str] | None = None,
    ) -> Cameras:
        """Return cameras from arrays such as OpenCV returns, one entry a camera, in float64.

        Args:
            camera_matrices: 3 x 3 each, px.
            rotations: Rodrigues vectors of three numbers, or 3 x 3 matrices; world to camera.
            translations: three numbers each, in the unit of the calibration.
            distortions: OpenCV's coefficients, 0, 4, 5, 8, 12 or 14 for each camera; ``None``:
                no distortion.
            image_sizes: width and height of each camera's images, px.
            names: names of the cameras.

        Raises:
            ArgumentValueError: an array cannot be that of a camera.

        Example:
            >>> cameras = Cameras.from_opencv(
            ...     [[[500, 0, 320], [0, 500, 240], [0, 0, 1]]], [[0, torch.pi / 2, 0]], [[0, 0, 9]]
            ... )
            >>> cameras.extrinsics.round(decimals=6).abs()
            tensor([[[0., 0., 1., 0.],
                     [0., 1., 0., 0.],
                     [1., 0., 0., 9.]]], dtype=torch.float64)
        """
        num_views = len(_entries("camera_matrices", camera_matrices))
        given = {"rotations": rotations, "translations": translations, "distortions": distortions}
        for what, values in given.items():
            if values is not None and len(_entries(what, values)) != num_views:
                raise ArgumentValueError(
                    f"{what} must hold one entry for each of {num_views} cameras, got {len(values)}"
                )
        intrinsics = [_camera_matrix(matrix, i) for i, matrix in enumerate(camera_matrices)]
        extrinsics = [
            np.column_stack([_rotation(rotation, i), _vector("translations", translation, i, (3,))])
            for i, (rotation, translation) in enumerate(zip(rotations, translations, strict=True))
        ]
        coefficients = [
            _vector("distortions", [] if values is None else values, i, NUM_COEFFICIENTS)
            for i, values in enumerate([None] * num_views if distortions is None else distortions)
        ]
        longest = max(map(len, coefficients), default=0)
        padded = [np.pad(values, (0, longest - len(values))) for values in coefficients]
        return cls(
            torch.from_numpy(np.array(intrinsics).reshape(-1, 3, 3)),
            torch.from_numpy(np.array(extrinsics).reshape(-1, 3, 4)),
            torch.from_numpy(np.array(padded).reshape(num_views, longest)),
            None if image_sizes is None else tuple(map(_size, image_sizes)),
            None if names is None else tuple(names),
        )

    def __repr__(self) -> str:
        names = f" {', '.join(self.names)}" if self.names else ""
        shape = tuple(self.intrinsics.shape[:-2])
        return f"<Cameras{names}: shape {shape}, {self.intrinsics.dtype}>"

    @property
    def num_views(self) -> int:
        """How many cameras there are."""
        return self.intrinsics.shape[-3]

    def to(self, *args: Any, **kwargs: Any) -> Cameras:
        """Return the cameras on a device or in a precision; arguments as for `torch.Tensor.to`."""
        return self._map(*[lambda tensor: tensor.to(*args, **kwargs)] * 2)

    def to_lists(self) -> list[Any]:
        """Return intrinsics, extrinsics and distortions as nested lists, for JSON.

        Example:
            >>> Cameras(torch.eye(3)[None], torch.eye(3, 4)[None]).to_lists()[2] is None
            True
        """
        tensors = (self.intrinsics, self.extrinsics, self.distortions)
        return [None if tensor is None else tensor.tolist() for tensor in tensors]

    def select(self, views: Sequence[str | int]) -> Cameras:
        """Return some of the cameras, by name or number, in the order given.

        Raises:
            ArgumentValueError: there is no such camera.
        """
        numbers = [self._number_of(view) for view in views]
        return self._map(
            lambda tensor: tensor[..., numbers, :, :],
            lambda tensor: tensor[..., numbers, :],
            image_sizes=self.image_sizes and tuple(self.image_sizes[i] for i in numbers),
            names=self.names and tuple(self.names[i] for i in numbers),
        )

    def with_pixels_of(self, affine: Float[Tensor, "*#batch views 2 3"]) -> Cameras:
        """Return the cameras of images whose pixels an affine map made, by crop or resize.

        Args:
            affine: from pixels of the original images to those of the new ones: crop, resize and
                skew, but no rotation, after which the intrinsics are NaN.

        Example:
            >>> from lploss_builtin.ops.affine import crop_and_resize
            >>> pinhole = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
            >>> half = crop_and_resize(torch.tensor([[0.0, 0.0, 480.0, 640.0]]), (240.0, 320.0))
            >>> Cameras(pinhole[None], torch.eye(3, 4)[None]).with_pixels_of(half).intrinsics
            tensor([[[250.,   0., 160.],
                     [  0., 250., 120.],
                     [  0.,   0.,   1.]]])
        """
        affine = affine.to(self.intrinsics)
        last = self.intrinsics[..., 2:, :]
        with without_autocast(last.device):
            top = affine[..., :2] @ self.intrinsics[..., :2, :] + affine[..., 2:] * last
        shape = top.shape[:-2]
        intrinsics = torch.cat([top, last.expand(*shape, 1, 3)], dim=-2)
        # No camera matrix turns an image.
        intrinsics = torch.where(affine[..., 1:, :1] == 0, intrinsics, math.nan)
        expanded = self._map(
            lambda tensor: tensor.expand(*shape, *tensor.shape[-2:]),
            lambda tensor: tensor.expand(*shape, tensor.shape[-1]),
        )
        return replace(expanded, intrinsics=intrinsics, image_sizes=None)

    def _map(self, matrices: _Change, vectors: _Change, **others: Any) -> Cameras:
        return replace(
            self,
            intrinsics=matrices(self.intrinsics),
            extrinsics=matrices(self.extrinsics),
            distortions=None if self.distortions is None else vectors(self.distortions),
            **others,
        )

    def _number_of(self, view: str | int) -> int:
        known = self.names or ()
        if isinstance(view, str) and view in known:
            return known.index(view)
        if isinstance(view, int) and 0 <= view < self.num_views:
            return view
        there = ", ".join(known) if known else f"0 to {self.num_views - 1}, without names"
        hint = did_you_mean(view, known) if isinstance(view, str) else ""
        raise ArgumentValueError(f"there is no camera {view!r}.{hint} The cameras are: {there}.")


def in_best_precision(cameras: Cameras) -> Cameras:
    """Return the cameras in the precision in which the geometry is computed.

    Example:
        >>> in_best_precision(Cameras(torch.eye(3)[None], torch.eye(3, 4)[None])).extrinsics.dtype
        torch.float64
    """
    return cameras._map(best_float, best_float)


def check_points(
    name: str,
    points: Tensor,
    cameras: Cameras,
    weights: Tensor | None = None,
    *,
    in_space: bool = False,
) -> None:
    """Check that points fit the cameras; all that it looks at are sizes.

    Args:
        name: of the points, for the message.
        points: ``batch views num_keypoints 2``, or ``batch num_keypoints 3`` in space.
        cameras: the cameras.
        weights: of the points.
        in_space: whether the points are in space.

    Raises:
        InputTypeError: the points are no floating-point numbers.
        ShapeError: their axes are others, or do not fit those of the cameras.
    """
    if not points.dtype.is_floating_point:
        raise InputTypeError(
            f"{name} must hold floating-point numbers, got {points.dtype}. Call .float() on them."
        )
    shape, num_views = tuple(points.shape), cameras.num_views
    axes = "(batch, num_keypoints, 3)" if in_space else f"(batch, {num_views}, num_keypoints, 2)"
    fits = len(shape) == 3 and shape[2] == 3
    if not in_space:
        fits = len(shape) == 4 and shape[1] == num_views and shape[3] == 2
    if not fits:
        raise ShapeError(f"{name} must have axes {axes} for {num_views} cameras, got shape {shape}")
    batch = cameras.intrinsics.shape[0] if cameras.intrinsics.ndim == 4 else 1
    if batch not in (1, shape[0]):
        raise ShapeError(
            f"the cameras have a batch of {batch}, {name} one of {shape[0]}: both must be the "
            "same, or the cameras shared by all"
        )
    if weights is not None and weights.shape != points.shape[:3]:
        raise ShapeError(
            f"weights must have shape {shape[:3]}, one for each of {name}, got "
            f"{tuple(weights.shape)}"
        )


def _entries(what: str, values: Any) -> Any:
    if not hasattr(values, "__len__") or isinstance(values, str):
        raise ArgumentValueError(f"{what} must hold one entry a camera, got {values!r}")
    return values


def _size(size: Any) -> tuple[float, float]:
    width, height = _vector("image_sizes", size, 0, (2,)).tolist()
    return width, height


def _array(values: Any) -> Any:
    """Return the values as an array; one of NaN, which nothing takes, where they are none."""
    try:
        if isinstance(values, Tensor):
            values = values.detach().cpu()
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return np.full(1, np.nan)


def _camera_matrix(matrix: Any, number: int) -> Any:
    array = _array(matrix)
    if array.shape != (3, 3) or not np.isfinite(array).all():
        raise ArgumentValueError(f"camera {number}: its matrix must be 3 x 3, got {matrix!r}")
    if array[0, 0] <= 0 or array[1, 1] <= 0 or array[1, 0] or (array[2] != (0, 0, 1)).any():
        raise ArgumentValueError(
            f"camera {number}: its matrix must be [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] with "
            f"fx and fy above 0, got {array.tolist()}"
        )
    return array


def _rotation(rotation: Any, number: int) -> Any:
    array = _array(rotation)
    if array.size == 3 and np.isfinite(array).all():
        return _from_rodrigues(array.reshape(3))
    if array.shape != (3, 3) or not np.isfinite(array).all():
        raise ArgumentValueError(
            f"camera {number}: its rotation must be a Rodrigues vector of three numbers or a "
            f"3 x 3 matrix, got {rotation!r}"
        )
    if np.abs(array @ array.T - np.eye(3)).max() > 1e-4 or np.linalg.det(array) < 0:
        raise ArgumentValueError(
            f"camera {number}: its 3 x 3 rotation is none: R R^T must be the identity and its "
            f"determinant 1, got {array.tolist()}"
        )
    return array


def _from_rodrigues(vector: Any) -> Any:
    x, y, z = vector
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.linalg.matrix_exp(cross).numpy()


def _vector(what: str, values: Any, number: int, sizes: tuple[int, ...]) -> Any:
    array = _array(values).reshape(-1)
    if array.size not in sizes or not np.isfinite(array).all():
        raise ArgumentValueError(
            f"camera {number}: its {what} must hold {' or '.join(map(str, sizes))} finite numbers, "
            f"got {values!r}"
        )
    return array
