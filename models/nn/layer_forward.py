"""What an approximated module runs instead of its own ``forward``: that in a session, with its result replaced if it is recognised."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
from torch import nn

from lanewise.models.nn import rows, session
from lanewise.models.nn.activation import activation
from lanewise.models.nn.config import ApproximateConfig
from lanewise.models.nn.recognise import NORMS, Form, scale
from lanewise.models.nn.run_session import in_session, refuse
from lanewise.models.nn.session import Session
from lanewise.models.nn.straight_through import in_place_of


class LayerForward:
    """The ``forward`` of one module, called in its stead by PyTorch and by everybody else.

    It holds no state of a run, so that the module can be copied, saved and shared by threads; and a session ends with the call
    that began it, whatever ended that.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        config: ApproximateConfig,
        *,
        excluded: bool = False,
        form: Form | None = None,
    ) -> None:
        self.module = module
        self.name = name
        self.config = config
        self.excluded = excluded
        self.form = form
        self.own: Callable[..., Any] | None = None
        """What the module had, itself and not by its class, before."""
        self.detached = False

    def attach(self) -> None:
        """Take the place of the module's ``forward``."""
        held = self.module.__dict__
        self.own = held.get("forward")
        held["forward"] = held[_LAYER] = self

    @staticmethod
    def detach(module: nn.Module) -> None:
        """Give ``module`` its own ``forward`` back."""
        layer = module.__dict__.pop(_LAYER, None)
        if not isinstance(layer, LayerForward):
            return
        layer.detached, own = True, layer.own  # somebody may have wrapped it since
        if module.__dict__.get("forward") is layer:
            del module.__dict__["forward"]
            if own is not None:
                module.__dict__["forward"] = own

    @property
    def exact(self) -> Callable[..., Any]:
        """The module's own ``forward``."""
        if self.own is not None:
            return self.own
        kind = type(self.module)
        function = next(vars(base)["forward"] for base in kind.__mro__ if "forward" in vars(base))
        bound: Callable[..., Any] = function.__get__(self.module, kind)
        return bound

    @property
    def __signature__(self) -> inspect.Signature:
        """The own one's: what transformers' ``generate`` and trainers ask for."""
        return inspect.signature(self.exact)

    @property
    def __code__(self) -> Any:
        """The own one's: ``torch.export`` asks before it runs anything and is refused."""
        return getattr(self.exact, "__code__", None)

    @property
    def _torchscript_modifier(self) -> NoReturn:
        """What TorchScript asks for first of all.

        Raises:
            UserError: Always.
        """
        refuse("TorchScript")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's result, in a session of its configuration, or in the one that runs."""
        if self.detached:
            return self.exact(*args, **kwargs)
        running = session.innermost()
        if running is not None and running.config == self.config:
            return self.inside(running, args, kwargs)
        with in_session(self.config) as running:
            return self.inside(running, args, kwargs)

    def inside(self, running: Session, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The module's result, its name on the session's path meanwhile."""
        running.path.append(self.name)
        try:
            operand = self.operand(args, kwargs)
            if operand is None and not self.excluded:
                return self.exact(*args, **kwargs)
            with session.paused():
                output = self.exact(*args, **kwargs)
            replaceable = isinstance(output, torch.Tensor) and session.current() is running
            return output if operand is None or not replaceable else self.replaced(running, operand, output)
        finally:
            running.path.pop()

    def operand(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.Tensor | None:
        """The only operand of a recognised module whose function is asked for: a tensor, its ``forward``'s first parameter.

        ``None`` if there is more to the call, such as a gate or a residual: then the module's own operators run.
        """
        form, config = self.form, self.config
        if form is None or self.excluded:
            return None
        if not (config.norms if form.function in NORMS else form.function in config.functions):
            return None
        try:
            parameters = inspect.signature(self.exact)
            given = parameters.bind(*args, **kwargs).arguments
        except (TypeError, ValueError):
            return None  # the module says it better
        first, *others = parameters.parameters
        x = given.get(first)
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            return None
        usual = (_is(given[name], parameters.parameters[name].default) for name in others if name in given)
        return x if all(usual) else None

    def replaced(self, running: Session, x: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
        """The hardware's result with the derivative of the module's own."""
        form, config = self.form, self.config
        assert form is not None
        if form.function in NORMS:
            with session.paused(), torch.no_grad():
                result = _norm(form, self.module, x, config.vlen_bits)
            session.observe(running, form.function, x, result, lambda _: exact.detach())
        else:
            hardware = activation(form.function, (), config)
            assert hardware is not None  # no range reduction is recognised
            with session.paused(), torch.no_grad():
                result = hardware(x)
            session.observe(running, hardware.name, x, result, hardware.exact, hardware.range)
        return in_place_of(exact, result)


def _is(value: object, default: object) -> bool:
    """Whether an argument says no more than its absence."""
    simple = isinstance(value, bool | int | float | str) and type(value) is type(default)
    return value is default or (simple and value == default)


def _norm(form: Form, module: nn.Module, x: torch.Tensor, vlen_bits: int) -> torch.Tensor:
    weight, bias = scale(form, module), None if form.bias is None else getattr(module, form.bias)
    values = x.movedim(form.axis, -1)
    if form.function == "rms_norm":
        result = rows.rms_norm(values, weight, form.epsilon, vlen_bits)
    else:
        result = rows.layer_norm(values, weight, bias, form.epsilon, vlen_bits)
    return result.movedim(-1, form.axis)


_LAYER = "_lanewise_layer"
