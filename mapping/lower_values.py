"""Where the values of a network are while it is lowered: who reads each, in which formats it is stored, and the tasks that rearrange it."""

from math import prod

from lanewise.mapping.expansions import expanded
from lanewise.mapping.graph import Graph, Operator
from lanewise.mapping.kernels.copies import Copy
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.movement import MovementWork
from lanewise.mapping.layout import Layouts, Order, channels_innermost
from lanewise.mapping.lower_convolution import is_depthwise
from lanewise.mapping.lower_movement import PAIR, moves_operands, rearrangement, whole_bytes, whole_lines
from lanewise.mapping.matrix_operands import matrix_of
from lanewise.mapping.task import Task, Work


class LoweredValues:
    """Values, their readers and formats; the tasks so far."""

    def __init__(self, graph: Graph, allow_unmapped: bool) -> None:
        graph = expanded(graph)
        self.graph, self.allow_unmapped = graph, allow_unmapped
        layouts = self.layouts = Layouts(graph)
        self.of, self.shape, self.size, self.computed = (
            layouts.of,
            layouts.shape,
            layouts.size,
            layouts.computed,
        )
        self.producer = {
            out: op.index for op in graph.operators if not layouts.still(op) for out in op.outputs
        }
        self.uses: dict[int, list[tuple[Operator, int]]] = {}
        for operator in graph.operators:
            if not layouts.still(operator):
                for value_id in operator.inputs:
                    self.uses.setdefault(self.of(value_id), []).append((operator, value_id))
        self.results = {self.of(value_id) for value_id in graph.outputs}
        self.formats = self.wanted_formats()
        self.fused: set[int] = set()
        self.column_operators: set[int] = set()
        """Those of the fused operators that are factors and addends of a product's columns."""
        self.rearranged: set[tuple[int, tuple[int, ...], Order, str]] = set()
        self.tasks: list[Task] = []
        self.unmapped: list[str] = []

    def wanted_formats(self) -> dict[int, tuple[str, ...]]:
        """For each value in memory: ``fp16``, ``quantised`` or both."""
        wanted: dict[int, set[str]] = {value_id: {"fp16"} for value_id in self.results}
        for operator in reversed(self.graph.operators):
            if self.layouts.still(operator):
                continue
            forms = {"fp16"}
            if operator.kind in ("matmul", "convolution") and not is_depthwise(operator, self.layouts):
                forms = {"quantised"}
            elif operator.kind == "movement" and all(
                moves_operands(self.layouts, operator, out) for out in operator.outputs
            ):
                forms = set().union(*(wanted.get(self.of(out), {"fp16"}) for out in operator.outputs))
            for place, value_id in enumerate(operator.inputs):
                if operator.kind == "recurrent":
                    forms = {"fp16" if place else "quantised"}
                if self.computed(value_id):
                    through = forms == {"quantised"} and self._rearranged_as_fp16(operator, place)
                    wanted.setdefault(self.of(value_id), set()).update({"fp16"} if through else forms)
        return {value_id: tuple(sorted(forms)) for value_id, forms in wanted.items()}

    def outputs(self, value_id: int) -> tuple[str, ...]:
        return self.formats.get(self.of(value_id), ("fp16",))

    def alone(
        self, name: str, kind: str, work: Work, value: int, shape: tuple[int, ...] = (), order: Order | None = None
    ) -> None:  # fmt: skip
        """A task that is no operator's."""
        self.tasks.append(
            Task(
                name=name,
                kind=kind,
                members=(),
                functions=(),
                work=work,
                value=value,
                shape=shape,
                order=order,
            )
        )

    def in_memory_order(self, view: int, out: int) -> bool:
        """Whether ``out``, computed element by element as ``view`` is read, lies as what ``view`` is of."""
        layouts = self.layouts
        return layouts.places(view) is not None and layouts.lies(view, self.shape(out), layouts.order(out))

    def rearrange(
        self, operator: Operator, value_id: int, shape: tuple[int, ...], wanted: Order, form: str = "fp16"
    ) -> None:
        """Tasks that copy an operand, expanded to ``shape``, into the order ``wanted``, where it does not lie so: once, whoever reads it. What is quantised
        then is copied in lines of whole bytes."""
        copy = self.computed(value_id) and rearrangement(self.layouts, value_id, shape, wanted)
        if not copy or (form == "fp16" and self.layouts.given(value_id)):
            return
        moved = "fp16" if form == "quantised" and self._as_fp16(value_id, copy, shape, wanted) else form
        name = f"rearrange for {operator.name}"
        elements = whole_lines(shape, wanted) if moved != form else 0
        whole = elements > max(1, prod(shape))
        if whole:
            copy = rearrangement(self.layouts, value_id, shape, wanted, whole=True) or copy
        if (key := (value_id, shape, wanted, "lines" if whole else moved)) not in self.rearranged:
            self.rearranged.add(key)
            if moved == "quantised" or not self.layouts.given(value_id):
                self.alone(
                    name, "movement", MovementWork(copies=(copy,), form=moved), value_id, shape, wanted
                )
        if (key := (value_id, shape, wanted, form)) not in self.rearranged:
            self.rearranged.add(key)
            work = ElementwiseWork(elements=elements, outputs=("quantised",))
            self.alone(f"quantise for {operator.name}", "quantise", work, value_id, shape, wanted)

    def _as_fp16(self, value_id: int, copy: Copy, shape: tuple[int, ...], wanted: Order) -> bool:
        """Whether what is to be rearranged is quantised only then: as INT4 its runs would be no whole bytes."""
        innermost = shape[wanted[-1]] if wanted else 1
        return innermost % PAIR > 0 or not whole_bytes(self.layouts, value_id, (copy,))

    def _rearranged_as_fp16(self, operator: Operator, place: int) -> bool:
        """Whether an operand of the matrix unit is made of the FP16 value."""
        value_id = operator.inputs[place]
        last = 0 if operator.kind == "recurrent" else 1
        if place > last or operator.kind == "movement" or not self.computed(value_id):
            return False
        if operator.kind == "matmul" and matrix_of(self.layouts, operator, place).direct:
            return False
        shape, wanted = self.operand(operator, place)
        copy = rearrangement(self.layouts, value_id, shape, wanted)
        return copy is not None and self._as_fp16(value_id, copy, shape, wanted)

    def operand(self, operator: Operator, place: int) -> tuple[tuple[int, ...], Order]:
        """The shape and the order in which a convolution or a matrix product reads an operand that it does not read where it lies."""
        shape = self.shape(operator.inputs[place])
        if operator.kind == "convolution":
            return shape, channels_innermost(len(shape))
        if operator.kind == "recurrent":
            return shape, tuple(range(len(shape)))
        return matrix_of(self.layouts, operator, place).wanted

    def rearrange_operands(self, operator: Operator, own: set[int]) -> None:
        """Computed operands of an element-wise operator in the order of its result, but what is in registers."""
        out = operator.outputs[0]
        for value_id in dict.fromkeys(operator.inputs):
            if self.of(value_id) not in own:
                self.rearrange(operator, value_id, self.shape(out), self.layouts.order(out))
