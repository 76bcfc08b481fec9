"""Good images become pins of windows that begin empty, before their first frame is scored.

They are cut and extracted as the camera's own frames are. Where that is not possible the
camera's frames get no result, each with the reason, until it is: whoever gave references
does not want parts to pass without them. A recipe that has no folder of its own is inspected
without, and the ledger says so.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edge.frame import Frame
from pipeline.camera_intake import FrameRefusedError
from pipeline.good_folder import content_digest, recipe_folder
from pipeline.good_images import GoodImagesError, difference, read_good_images
from pipeline.inspection import StreamEvent
from pipeline.region_stream import NotFiniteError
from pipeline.stream_window import FrameId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.sources import Capture
    from musc.backbone import Backbone
    from pipeline.camera_intake import CameraIntake
    from pipeline.config import Config
    from pipeline.region_stream import RegionStream

log = logging.getLogger(__name__)

NO_BOOT = "good image"
"""In place of a boot, so that no order can name it and no result be looked up."""


class References:
    """The good images of all cameras."""

    def __init__(self, config: Config, backbone: Backbone) -> None:
        """Read nothing yet.

        Args:
            config: The line's settings.
            backbone: The one of the frames.
        """
        self._config = config
        self._backbone = backbone
        self._paths = {camera.id: camera.good_path for camera in config.camera if camera.good_path}
        self._digests: dict[tuple[str, str], str | None] = {}

    def digest(self, camera: str, recipe: str) -> str | None:
        """Return what a recipe's good images were when they were pinned or first asked for."""
        if camera not in self._paths:
            return None
        if (camera, recipe) not in self._digests:
            self._digests[camera, recipe] = self._digest_of_now(camera, recipe)
        return self._digests[camera, recipe]

    def recipe_begins(self) -> None:
        """Look at the folders anew: what is kept of a recipe must be of the images of now."""
        self._digests.clear()

    def pin(
        self, frame: Frame, recipe: str, intake: CameraIntake, streams: Sequence[RegionStream]
    ) -> tuple[StreamEvent, ...]:
        """Pin what a camera has of good images for a recipe.

        Args:
            frame: The camera's first frame; they must be like it.
            recipe: The recipe that begins.
            intake: The camera's, which knows the frame.
            streams: Those of its regions, empty.

        Returns:
            What the ledger should know of it.

        Raises:
            FrameRefusedError: The folder cannot be used, or not with this frame.
        """
        name = frame.key.camera
        if name not in self._paths:
            return ()
        try:
            images = read_good_images(self._config, name, self._paths[name], recipe)
        except GoodImagesError as error:
            raise FrameRefusedError(str(error), "corrupt") from error
        self._digests[name, recipe] = self._digest_of_now(name, recipe)
        if not images:
            log.warning("camera %s: good_path has no folder for recipe %s", name, recipe)
            return (StreamEvent(kind="no_good_images", detail={"recipe": recipe}),)
        for number, image in enumerate(images, 1):
            self._begin_with(frame, number, image, intake, streams)
        parts = [image.origin for image in images]
        return (StreamEvent(kind="pinned", detail={"by": "good_path", "parts": parts}),)

    def _begin_with(
        self,
        frame: Frame,
        number: int,
        image: Capture,
        intake: CameraIntake,
        streams: Sequence[RegionStream],
    ) -> None:
        """Pin one image in all regions.

        Raises:
            FrameRefusedError: It is unlike the frame, or its tokens are no numbers.
        """
        pixels = frame.pixels if image.pixels is None else image.pixels
        if odd := difference(pixels, frame.pixels):
            detail = f"good image {image.origin} is {odd} as the camera's frames"
            raise FrameRefusedError(detail, "corrupt")
        like_it = Frame(
            frame.announcement.model_copy(update={"origin": image.origin}),
            pixels,
            image.pixel_format,
            image.bit_depth,
            frame.offset_px,
        )
        features = self._backbone.extract(intake.cut(like_it, intake.view(frame)))
        name = FrameId(NO_BOOT, number, image.origin)
        try:
            for stream, tokens, feature in zip(
                streams, features.tokens, features.image_features, strict=True
            ):
                stream.begin_with(tokens, feature, name)
        except NotFiniteError as error:
            detail = f"good image {image.origin}: {error}"
            raise FrameRefusedError(detail, "not_finite") from error

    def _digest_of_now(self, camera: str, recipe: str) -> str | None:
        own = self._config.line.recipe
        return content_digest(recipe_folder(self._paths[camera], recipe, own))
