"""Each network is the trained one: held to another implementation or to what only trained weights can do."""

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from lanewise.errors import UserError
from lanewise.models.onnx.file import read_onnx
from lanewise.models.onnx.module import OnnxModule
from lanewise.models.pretrained import NETWORKS, basic_pitch, g2p, mtcnn, pretrained, silero, speaker
from lanewise.models.pretrained.basic_pitch import BasicPitch
from lanewise.models.pretrained.g2p import PHONEMES, G2p
from lanewise.models.pretrained.magika import PADDING, SIDE, Magika, _ends
from lanewise.models.pretrained.ocr import CHARACTERS, PpOcr, edits
from lanewise.models.pretrained.ocr_direction import PpDirection
from lanewise.models.pretrained.ocr_pages import PpPages, boxes_of, overlap
from lanewise.models.pretrained.packages import packaged_file
from lanewise.models.pretrained.silero import SileroVad
from lanewise.models.pretrained.smollm2 import FILE, PACKAGE, TOKENS, SmolLm2, _tokenizer
from lanewise.models.pretrained.speaker import Resemblyzer, mel_spectrum
from lanewise.models.pretrained.state import read_state
from lanewise.models.pretrained.talk import RATE, talk, turns

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


def test_the_direction_classifier_is_the_onnx_files_network():
    network = PpDirection()
    pictures = network.samples(2, SEED).values
    wanted = reference("rapidocr", "ch_ppocr_mobile_v2.0_cls_mobile.onnx", pictures.numpy())
    torch.testing.assert_close(network.load()(pictures), wanted, rtol=0, atol=1e-5)


def test_the_detector_is_the_onnx_files_network():
    network = PpPages()
    page = network.samples(1, SEED).values[0][..., :64, 64:160].contiguous()
    wanted = reference("rapidocr", "PP-OCRv6_det_small.onnx", page.numpy())
    torch.testing.assert_close(network.load()(page), wanted, rtol=0, atol=1e-5)
    operators = [node.operator for node in network.load().nodes]
    assert (operators.count("Gelu"), operators.count("Erf")) == (13, 0)


def test_boxes_of_lines():
    shares = np.zeros((40, 60), np.float32)
    shares[10:14, 5:45] = 0.9
    shares[25:29, 30:50] = 0.31
    shares[30:32, 0:60] = 0.29
    grown = round(4 * 40 * 1.6 / 88), round(4 * 20 * 1.6 / 48)
    assert boxes_of(shares) == [
        (5 - grown[0], 10 - grown[0], 45 + grown[0], 14 + grown[0]),
        (30 - grown[1], 25 - grown[1], 50 + grown[1], 29 + grown[1]),
    ]
    assert overlap((0, 0, 2, 2), (2, 2, 4, 4)) == 0
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1


def test_silero_is_the_onnx_files_network():
    """The package has the same network as one ONNX graph for a sequence of frames."""
    network, count = SileroVad(), 12
    sound = network.samples(1, SEED).values[:, : count * silero.FRAME]
    module = network.load()
    frames = torch.nn.functional.pad(sound, (silero.BEFORE, 0)).unfold(
        1, silero.FRAME + silero.BEFORE, silero.FRAME
    )[0]
    zeros = np.zeros((1, 1, 128), np.float32)
    evaluator = ReferenceEvaluator(str(packaged_file("silero-vad", "silero_vad_16k_sequence.onnx")))
    wanted = evaluator.run(None, {"input": frames.numpy(), "h": zeros, "c": zeros})[0]
    speech, _ = module(module.spectrum(sound))
    torch.testing.assert_close(speech[0], torch.from_numpy(wanted), rtol=0, atol=1e-5)


def test_the_speaker_encoder_is_pytorchs_lstm():
    network = Resemblyzer()
    spectra = network.samples(3, SEED).values[:, :20]
    weights = read_state(packaged_file("resemblyzer", "pretrained.pt"), "x")["model_state"]
    lstm, linear = torch.nn.LSTM(40, 256, 3, batch_first=True), torch.nn.Linear(256, 256)
    for module, prefix in ((lstm, "lstm."), (linear, "linear.")):
        module.load_state_dict(
            {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        )
    with torch.no_grad():
        wanted = linear(lstm(spectra)[1][0][-1]).relu()
    torch.testing.assert_close(network.load()(spectra), wanted, rtol=0, atol=1e-5)


def test_g2p_is_pytorchs_gru_and_spells_words():
    module = G2p().load()
    gru = torch.nn.GRUCell(256, 256)
    mine = module.reader.state_dict()
    names = {
        "weight_ih": "inputs.weight",
        "weight_hh": "recurrence.weight",
        "bias_ih": "inputs.bias",
        "bias_hh": "recurrence.bias",
    }
    gru.load_state_dict({theirs: mine[ours] for theirs, ours in names.items()})
    x, state = torch.randn(2, 3, 256, generator=torch.Generator().manual_seed(SEED)).unbind(0)
    torch.testing.assert_close(module.reader(x, state), gru(x, state).detach(), rtol=0, atol=1e-5)
    for word, phonemes in {"seven": "S EH1 V AH0 N", "lanes": "L EY1 N Z"}.items():
        codes = torch.tensor([[g2p.LETTERS.index(letter) for letter in [*word, "</s>"]]])
        said = [PHONEMES[code] for code in module(codes)[1][0] if code != g2p.END]
        assert " ".join(said) == phonemes


def test_basic_pitch_in_two_parts_is_the_whole():
    network = BasicPitch()
    sound, module = network.samples(1, SEED).values[0], network.load()
    whole = OnnxModule(read_onnx(packaged_file("basic-pitch", "nmp.onnx")))
    onsets, notes, contours = whole(sound)
    for part, wanted in zip(module(module.spectrum(sound)), (notes, onsets, contours), strict=True):
        assert torch.equal(part, wanted)
    spectrum = module.spectrum(sound)
    assert (float(spectrum.min()), float(spectrum.max())) == (0, 1)


def test_mel_spectrum_of_tones():
    """A tone's power is in the band around it; white noise fills all bands alike but for their area, which is 1."""
    time = np.arange(RATE // 4) / RATE
    bands = [
        int(mel_spectrum(np.sin(2 * np.pi * pitch * time)).mean(0).argmax()) for pitch in (200, 1000, 6000)
    ]
    edges = speaker._hertz(np.linspace(0, speaker._mel(8000), 42))
    assert [bool(edges[band] < pitch < edges[band + 2]) for band, pitch in zip(bands, (200, 1000, 6000))] == [
        True
    ] * 3
    noise = mel_spectrum(np.random.default_rng(SEED).normal(0, 1, RATE * 4)).mean(0)
    assert 0.8 < noise[5:].min() / noise[5:].max() < 1
    assert edges[-1] == pytest.approx(8000)


def test_talk():
    assert len(talk()) == 30 * RATE
    assert len({who for *_, who in turns()}) == 2
    assert all(0 <= start < end <= 30.01 for start, end, _ in turns())


@pytest.mark.parametrize(
    ("module", "network"),
    [(silero, SileroVad), (speaker, Resemblyzer), (g2p, G2p), (mtcnn, mtcnn.RNet), (basic_pitch, BasicPitch)],
)
def test_other_files_are_refused(module, network, tmp_path, monkeypatch):
    path = tmp_path / "weights"
    path.write_bytes(b"something else")
    monkeypatch.setattr(module, "packaged_file", lambda *_: path)
    with pytest.raises(UserError, match=r"weights: .*; expected"):
        network().load()


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
