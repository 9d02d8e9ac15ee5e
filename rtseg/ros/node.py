"""The segmentation node: a lifecycle node around the loop that every other command runs too."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rtseg.drawing.view import View
from rtseg.errors import BackendError, ConfigError, MissingExtra, RtsegError
from rtseg.frame import Header, Image
from rtseg.geometry import parse_size
from rtseg.messages import records as messages
from rtseg.ros.diagnostics import Diagnostics, wrong_kind
from rtseg.ros.loop import Loop
from rtseg.ros.outputs import OUTPUTS, Outputs
from rtseg.ros.parameters import LISTS, PARAMETERS, check, names, navigation, run_config
from rtseg.ros.publishing import ResultPublisher
from rtseg.ros.rcl import (
    LabelInfo,
    LifecycleNode,
    LifecycleState,
    NodeLog,
    Parameter,
    ParameterException,
    Publishers,
    Session,
    SetParametersResult,
    TransitionCallbackReturn,
    check_node_name,
    descriptor,
    qos,
    resolved,
    subscribe,
)
from rtseg.ros.subscriber import Picture, Subscriber
from rtseg.segmenter.contract import Stages

__all__ = ["SegmentationNode", "serve"]

log = logging.getLogger("rtseg")

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
SPIN_SECONDS = 0.1
WATCH_SECONDS = 0.2
LIVE = frozenset(parameter.name for parameter in PARAMETERS if parameter.live)


class SegmentationNode(LifecycleNode):  # type: ignore[misc] # rclpy is not checked
    """Subscribes to pictures and publishes what `rtseg.ros.outputs.OUTPUTS` lists, each only while somebody listens.

    Configuring loads the model, activating subscribes, deactivating unsubscribes, cleaning up lets go of everything. It
    can be added to any executor beside other nodes; the loop has a thread of its own. rclpy hands nothing over inside a
    process: what produces pictures in the same one calls `hand_over`. `overrides` are parameters by name; `options` go
    to rclpy's node (`context`, `namespace`, …). `failure` is what ended the loop, or kept it from starting, in one
    line. Errors: ConfigError for a parameter that does not fit.
    """

    def __init__(
        self, name: str = "segmentation", *, overrides: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        check_node_name(name)
        for key, value in (overrides or {}).items():
            if key in KNOWN:
                check(key, value)
        given = [Parameter(key, value=value) for key, value in (overrides or {}).items()]
        super().__init__(name, parameter_overrides=given, **options)
        self.failure: str | None = None
        self._active = False
        self._loop: Loop | None = None
        self._intake: Subscriber | None = None
        self._outputs: Outputs | None = None
        self._view: View | None = None
        self._topics: Publishers | None = None
        self._held: list[Callable[[], Any]] = []
        self._inputs: list[Any] = []
        self._tell: Callable[[], None] | None = None
        try:
            self._declare()
            # It lives as long as the node: the last word on a loop that failed comes after its outputs are gone.
            kinds = {"diagnostics": messages.DIAGNOSTICS}
            self._report = Publishers(self, kinds, qos("reliable", 1), managed=False)
        except RtsegError:
            super().destroy_node()
            raise
        self._log = NodeLog(self)
        self.add_on_set_parameters_callback(self._set)

    def _declare(self) -> None:
        for parameter in PARAMETERS:
            low, high = parameter.low, parameter.high
            constraints = f"one of {', '.join(parameter.choices)}" if parameter.choices else ""
            if not parameter.live:
                constraints = "; ".join(filter(None, (constraints, "fixed while the node is configured")))
            shown = descriptor(parameter.text, low, high, isinstance(parameter.default, int), constraints)
            try:
                self.declare_parameter(parameter.name, parameter.default, shown)
            except ParameterException as exc:
                raise ConfigError(f"parameter {parameter.name}: {' '.join(str(exc).split())}") from exc

    @property
    def values(self) -> dict[str, Any]:
        """Every parameter's value by name."""
        return {parameter.name: self.get_parameter(parameter.name).value for parameter in PARAMETERS}

    def hand_over(self, image: Image, stamp_ns: int, frame_id: str) -> None:
        """Take a picture, HWC uint8 BGR, from this process without any message; it must not be written to after."""
        if self._intake is not None and self._wants():
            self._intake.put(Picture(image, stamp_ns, frame_id))

    # What the lifecycle asks for.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and make the outputs."""
        self.failure = None
        try:
            self._configure(self.values)
        except Exception as exc:  # noqa: BLE001 - rclpy would drop it without a word
            self._fail(exc)
            self._let_go()
            return FAILURE
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take pictures from now on."""
        assert self._intake is not None
        values, intake = self.values, self._intake
        profile = qos(values["image_reliability"], values["image_depth"])
        try:
            self._inputs.append(subscribe(self, intake.topic, intake.kind, profile, self._take))
            self._subscribe_to_camera_info(values["camera_info"], intake.topic)
            self._subscribe_to_transforms()
        except Exception as exc:  # noqa: BLE001 - as above
            self._fail(exc)
            self._unsubscribe()
            return FAILURE
        intake.forget()
        self._active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take no more pictures; the model stays loaded."""
        self._active = False
        self._unsubscribe()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the model and of the outputs."""
        return SUCCESS if self._let_go() else FAILURE

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything."""
        return SUCCESS if self._let_go() else FAILURE

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node can be configured again."""
        return SUCCESS if self._let_go() else FAILURE

    def destroy_node(self) -> None:
        """End the loop and leave the graph."""
        self._let_go()
        super().destroy_node()
        self._log.close()

    # How that is done.

    def _fail(self, error: BaseException) -> None:
        """Note and log what went wrong, with a traceback where it is unexpected."""
        self.failure = " ".join(str(error).split()) or type(error).__name__
        expected = isinstance(error, (RtsegError, ParameterException))
        log.error("%s", self.failure, exc_info=None if expected else error)

    def _configure(self, values: Mapping[str, Any]) -> None:
        config = run_config(values)
        expected = parse_size(values["warm_up_size"]) if values["warm_up_size"] else None
        self._intake = intake = Subscriber(resolved(self, values["image"]), expected)
        kinds = {output.topic: output.kind for output in OUTPUTS}
        self._topics = topics = Publishers(self, kinds, qos(values["output_reliability"], values["output_depth"]))
        made: list[ResultPublisher] = []

        def sink(stages: Stages, view: View) -> ResultPublisher:
            self._view = view
            self._outputs = Outputs(
                stages.spec,
                stages.place,
                mask_size=values["mask_size"],
                jpeg_quality=values["jpeg_quality"],
                navigation=navigation(values, stages.spec.classes),
            )
            made.append(ResultPublisher(topics, self._outputs))
            return made[0]

        self._loop = Loop(config, intake, sink, log.info)
        pipeline = self._loop.start()
        label_info = LabelInfo(self, "~/label_info")
        label_info.publish(pipeline.segmenter.spec, Header("", now := self.get_clock().now().nanoseconds, "", now))
        diagnostics = Diagnostics(self.get_fully_qualified_name(), intake, pipeline, made[0])

        said = set[str]()

        def tell() -> None:
            kinds = [publisher.topic_type for publisher in self.get_publishers_info_by_topic(intake.topic)]
            wrong = wrong_kind(intake, kinds)
            if wrong is not None and wrong not in said:
                said.add(wrong)
                log.warning("%s", wrong)
            if self._report.listened():
                text = diagnostics.message(active=self._active, kinds=kinds, failure=self.failure)
                self._report.publish("diagnostics", text)

        self._tell = tell
        timers = [self.create_timer(values["diagnostics_period"], tell), self.create_timer(WATCH_SECONDS, self._watch)]
        self._held = [label_info.destroy, *(partial(self.destroy_timer, timer) for timer in timers)]

    def _let_go(self) -> bool:
        """End the loop and take everything off the graph; False if the loop did not end."""
        self._active = False
        self._unsubscribe()
        loop, self._loop = self._loop, None
        ended = loop is None or loop.end()
        if not ended:
            log.error("the loop did not end in time: its network does not load or does not answer")
        held, self._held = self._held, []
        for let_go in held:
            let_go()
        if self._topics is not None:
            self._topics.destroy()
        self._intake = self._outputs = self._view = self._topics = self._tell = None
        return ended

    def _subscribe_to_camera_info(self, topic: str, image: str) -> None:
        if topic == "none":
            return
        topic = resolved(self, info_topic(image) if topic == "auto" else topic)
        if topic == self.resolve_topic_name("~/camera_info"):
            log.warning("no CameraInfo: %s is this node's own output: name another with camera_info", topic)
            return
        profile = qos("best_effort", 1)
        self._inputs.append(subscribe(self, topic, messages.CAMERA_INFO, profile, self._take_camera_info))

    def _subscribe_to_transforms(self) -> None:
        """Listen to tf where the camera's pose comes from there; without tf2_msgs there is none, which is logged."""
        navigation = self._outputs.navigation if self._outputs else None
        if navigation is None or navigation.pose is not None:
            return
        for topic, static in (("/tf", False), ("/tf_static", True)):

            def take(data: bytes, *_: Any, static: bool = static) -> None:
                self._decoded(messages.TF, data, partial(navigation.add_transforms, static=static))

            try:
                profile = qos("reliable", 100, latched=static)
                self._inputs.append(subscribe(self, topic, messages.TF, profile, take))
            except MissingExtra as exc:
                log.warning("no camera pose from tf: %s", exc)
                return

    def _unsubscribe(self) -> None:
        held, self._inputs = self._inputs, []
        for subscription in held:
            self.destroy_subscription(subscription)

    def _watch(self) -> None:
        """Leave the active state when the loop has ended by itself."""
        loop = self._loop
        if loop is None or loop.running:
            return
        log.error("segmentation ended")
        self._fail(loop.error or BackendError("the loop ended without an error"))
        if self._tell is not None:
            self._tell()  # the last word of the diagnostics until the node is configured again
        if self._active:
            self.trigger_deactivate()
        self.trigger_cleanup()

    # What comes in.

    def _wants(self) -> bool:
        """Whether somebody would see what became of a picture."""
        return self._active and self.get_parameter("enabled").value and bool(self._topics and self._topics.listened())

    def _take(self, data: bytes, publisher: bytes, sequence: int | None, age_ns: int) -> None:
        intake = self._intake
        if intake is None:
            return
        if self._wants():
            intake.put(data, publisher, sequence, age_ns)
        else:
            intake.skip(publisher, sequence)

    def _take_camera_info(self, data: bytes, *_: Any) -> None:
        outputs = self._outputs
        if outputs is not None:
            self._decoded(messages.CAMERA_INFO, data, partial(setattr, outputs, "camera_info"))

    def _decoded(self, kind: str, data: bytes, use: Callable[[Any], None]) -> None:
        try:
            use(messages.decode(kind, data))
        except messages.SerdeError as exc:
            log.warning("a message is left out: %s", exc)

    def _set(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        """Refuse what does not fit, apply what may change while the node runs."""
        ours = {parameter.name: parameter.value for parameter in parameters if self.has_parameter(parameter.name)}
        try:
            changes = self._changes({key: value for key, value in ours.items() if key in KNOWN})
        except (RtsegError, TypeError) as exc:
            return SetParametersResult(successful=False, reason=" ".join(str(exc).split()))
        for target, key, value in changes:
            setattr(target, key, value)
        return SetParametersResult(successful=True)

    def _changes(self, values: Mapping[str, Any]) -> list[tuple[Any, str, Any]]:
        """The attributes to be set for new values: what, which, to what. Errors: ConfigError, ModelError."""
        out: list[tuple[Any, str, Any]] = []
        for name, value in values.items():
            check(name, value)
            if self._loop is None:
                continue
            if name not in LIVE:
                raise ConfigError(f"{name} is fixed while the node is configured: deactivate and clean it up first")
            if name == "jpeg_quality":
                out.append((self._outputs, name, value))
            elif name == "hidden_classes":
                spec = self._loop.spec
                out.append((self._view, "hidden", frozenset(spec.class_id(word) for word in names(value))))
            elif name != "enabled":
                out.append((self._view, name, names(value) or ("overlay",) if name in LISTS else value))
        return out


def serve(name: str, overrides: Mapping[str, Any], arguments: Sequence[str] = ()) -> str | None:
    """Run the node in this thread until KeyboardInterrupt or until ROS is shut down; why it failed, if it did.

    `arguments` are those after `--ros-args`. With `autostart` it is active at once, and ends when its loop fails;
    otherwise a lifecycle manager decides. Errors: ConfigError, MissingExtra.
    """
    with Session(arguments) as session, session.executor() as executor:
        node = SegmentationNode(name, overrides=overrides, context=session.context)
        try:
            executor.add_node(node)
            autostart = node.values["autostart"]
            if autostart and node.trigger_configure() == SUCCESS:
                node.trigger_activate()
            while not (autostart and node.failure) and session.context.ok():
                executor.spin_once(timeout_sec=SPIN_SECONDS)
        finally:
            node.destroy_node()
        return node.failure if autostart else None


KNOWN = frozenset(parameter.name for parameter in PARAMETERS)


def info_topic(image: str) -> str:
    """The CameraInfo topic that goes with an image topic, as image_transport has it."""
    return image.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
