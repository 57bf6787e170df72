"""What a module does before and after it runs: begin and end a session, and replace its result if it is recognised."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from lanewise.models.nn import rows, session
from lanewise.models.nn.activation import activation
from lanewise.models.nn.config import ApproximateConfig
from lanewise.models.nn.dispatch_mode import DispatchMode
from lanewise.models.nn.function_mode import FunctionMode
from lanewise.models.nn.recognise import Form, exact_norm, scale
from lanewise.models.nn.session import Session
from lanewise.models.nn.straight_through import in_place_of


class LayerHooks:
    """Hooks of one module. They hold no state of a run, so that the module can be copied, saved and shared by threads."""

    def __init__(
        self, name: str, config: ApproximateConfig, *, excluded: bool = False, form: Form | None = None
    ) -> None:
        self.name = name
        self.config = config
        self.excluded = excluded
        self.form = form

    def attach(self, module: nn.Module) -> None:
        """Hook on to ``module``: first before all others, and in any case after it."""
        handles = [
            module.register_forward_pre_hook(self.before, prepend=True, with_kwargs=True),
            module.register_forward_hook(self.after, with_kwargs=True, always_call=True),
        ]
        module.__dict__.setdefault(_HANDLES, []).extend(handles)

    @staticmethod
    def detach(module: nn.Module) -> None:
        """Take all such hooks off."""
        for handle in module.__dict__.pop(_HANDLES, []):
            handle.remove()

    @property
    def exactly(self) -> bool:
        """Whether the module's own operators stay exact: it is left alone, or its result is replaced as a whole."""
        return self.excluded or self.form is not None

    def before(self, module: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ARG002 - PyTorch's
        """Begin a session unless one of this configuration runs already."""
        running = session.innermost()
        if running is None or running.config != self.config:
            running = Session(config=self.config)
            with ExitStack() as stack:
                stack.enter_context(DispatchMode(running))
                stack.enter_context(FunctionMode(running))
                running.contexts = stack.pop_all()
            session.push(running)
        running.path.append(self.name)
        if self.exactly:
            session.pause()

    def after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """Replace the result if the module is recognised, and end the session if this was its first module."""
        running = session.innermost()
        if running is None or not running.path or running.path[-1] != self.name:
            return None  # another hook failed before this one's turn
        try:
            if self.exactly:
                session.resume()
            if self.form is not None and isinstance(output, torch.Tensor) and session.current() is running:
                return self.replaced(running, module, next(iter((*args, *kwargs.values()))), output)
            return None
        finally:
            running.path.pop()
            if not running.path:
                session.pop(running)
                running.contexts.close()

    def replaced(
        self, running: Session, module: nn.Module, x: torch.Tensor, exact: torch.Tensor
    ) -> torch.Tensor | None:
        """The hardware's result with the derivative of the module's own; ``None`` if it is to stay exact."""
        form, config = self.form, self.config
        assert form is not None
        if form.function in ("rms_norm", "layer_norm"):
            if not config.norms:
                return None
            with session.paused(), torch.no_grad():
                result = _norm(form, module, x, config.vlen_bits)
            session.observe(running, form.function, x, result, lambda v: exact_norm(form, module, v))
        else:
            hardware = activation(form.function, (), config)
            if form.function not in config.functions or hardware is None:
                return None
            with session.paused(), torch.no_grad():
                result = hardware(x)
            session.observe(running, hardware.name, x, result, hardware.exact, hardware.range)
        return in_place_of(exact, result)


def _norm(form: Form, module: nn.Module, x: torch.Tensor, vlen_bits: int) -> torch.Tensor:
    weight, bias = scale(form, module), None if form.bias is None else getattr(module, form.bias)
    values = x.movedim(form.axis, -1)
    if form.function == "rms_norm":
        result = rows.rms_norm(values, weight, form.epsilon, vlen_bits)
    else:
        result = rows.layer_norm(values, weight, bias, form.epsilon, vlen_bits)
    return result.movedim(-1, form.axis)


_HANDLES = "_lanewise_handles"
