"""Each network is the trained one: held to another implementation or to what only trained weights can do."""

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from lanewise.errors import UserError
from lanewise.models.pretrained import NETWORKS, pretrained
from lanewise.models.pretrained.magika import PADDING, SIDE, Magika, _ends
from lanewise.models.pretrained.ocr import CHARACTERS, PpOcr, edits
from lanewise.models.pretrained.packages import packaged_file
from lanewise.models.pretrained.smollm2 import FILE, PACKAGE, TOKENS, SmolLm2, _tokenizer

SEED = 4


class GlobalMaxPool(OpRun):
    """The reference's drops the axes that the standard keeps."""

    op_domain = ""

    def _run(self, x):
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class BatchNormalization(OpRun):
    """The reference's trains, in versions 9 to 13, whenever a momentum is given."""

    op_domain = ""

    def _run(self, x, *parameters, epsilon=None, momentum=None, training_mode=None):  # noqa: ARG002 - the standard's
        scale, shift, mean, variance = (values[:, None, None] for values in parameters)
        return ((x - mean) / np.sqrt(variance + np.float32(epsilon)) * scale + shift,)


def reference(package, file, x):
    """What ONNX's reference implementation gives."""
    model = onnx.load(packaged_file(package, file))
    evaluator = ReferenceEvaluator(model, new_ops=[GlobalMaxPool, BatchNormalization])
    return torch.from_numpy(evaluator.run(None, {evaluator.input_names[0]: x})[0])


def test_magika_is_the_onnx_files_network():
    network = Magika()
    values = network.samples(3, SEED).values
    wanted = reference("magika", "model.onnx", values.numpy().astype(np.int32))
    torch.testing.assert_close(network.load()(values), wanted, rtol=0, atol=1e-5)


def test_ocr_is_the_onnx_files_network():
    network = PpOcr()
    picture = network.samples(1, SEED).values[0][..., :96]
    wanted = reference("rapidocr", "PP-OCRv6_rec_small.onnx", picture.numpy())
    torch.testing.assert_close(network.load()(picture), wanted, rtol=0, atol=1e-5)


def test_ocr_puts_its_activations_together():
    operators = [node.operator for node in PpOcr().load().nodes]
    assert {name: operators.count(name) for name in ("Gelu", "Silu", "LayerNorm", "Softmax")} == {
        "Gelu": 13, "Silu": 5, "LayerNorm": 5, "Softmax": 3,
    }  # fmt: skip
    assert not {"Erf", "Sigmoid", "Sqrt", "Pow"} & set(operators)


def test_edits():
    assert [edits(*pair) for pair in [("", ""), ("abc", ""), ("", "ab"), ("flaw", "lawn"), ("same", "same")]] == [
        0, 3, 2, 2, 0,
    ]  # fmt: skip


def test_lines_to_read():
    network = PpOcr()
    samples = network.samples(20, SEED)
    assert len(set(samples.truth)) == 20
    assert all(CHARACTERS // 2 <= len(line) <= CHARACTERS for line in samples.truth)
    assert all(picture.shape[:3] == (1, 3, 48) and picture.abs().max() <= 1 for picture in samples.values)


def test_ends_of_files(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b" \n" + bytes(range(65, 75)) + b"\t")
    values = _ends(path)
    assert values[:11].tolist() == [*range(65, 75), 9]  # only the start is stripped
    assert values[-12:].tolist() == [32, 10, *range(65, 75)]
    assert (values[11 : 2 * SIDE - 12] == PADDING).all()


@pytest.mark.parametrize("text", ["The year 2001 wasn't so bad:\n\t¿naïve?", "  double  spaces 12345"])
def test_tokens_are_the_text(text):
    tokenizer = _tokenizer(packaged_file(PACKAGE, FILE))
    encoding = tokenizer.encode(text)
    letters = {token: bytes([byte]) for byte, token in _byte_letters().items()}
    assert b"".join(letters[letter] for token in encoding.tokens for letter in token).decode() == text
    assert sum(token in "0123456789" for token in encoding.tokens) == sum(letter.isdigit() for letter in text)


def _byte_letters():
    """GPT-2's letter for each byte: itself where it can be seen, else one from 256 on."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + place) for place, byte in enumerate(unseen)}


def test_smollm2_continues_a_sentence():
    """Weights, their names, rotary pairs and tokens are right together, or nothing sensible comes."""
    tokenizer, module = _tokenizer(packaged_file(PACKAGE, FILE)), SmolLm2().load()
    ids = tokenizer.encode("The capital of France is").ids
    with torch.no_grad():
        best = module(input_ids=torch.tensor([ids])).logits[0, -1].argmax()
    assert tokenizer.id_to_token(int(best)) == "ĠParis"


@pytest.mark.parametrize("name", NETWORKS)
def test_samples_are_chosen_by_the_seed(name):
    network = pretrained(name)
    one, again, other = (network.samples(5, seed) for seed in (SEED, SEED, SEED + 1))
    same = _flat(one.values) == _flat(again.values)
    assert same
    assert _flat(one.values) != _flat(other.values)


@pytest.mark.parametrize("name", NETWORKS)
def test_too_many_samples_are_refused(name):
    with pytest.raises(UserError, match=r"^samples must be [13] to \d+, as .* (has|have|give), not 1000000$"):
        pretrained(name).samples(10**6, SEED)


def test_smollm2_pieces():
    values = SmolLm2().samples(4, SEED).values
    assert values.shape == (4, TOKENS)


def _flat(values):
    return [value.tolist() if isinstance(value, torch.Tensor) else value for value in values]
