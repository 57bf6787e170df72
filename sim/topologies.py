"""Layers of published networks as matrix products: what array simulators are compared on.

A convolution is a product of its results' patches: ``m`` results, ``k`` taps times input channels, ``n`` filters. Depthwise convolutions are left out, as they
are on the vector unit here.
"""

from lanewise.sim.systolic import Gemm


def alexnet() -> tuple[Gemm, ...]:
    """Krizhevsky, Sutskever, Hinton, NeurIPS 2012; the second, fourth and fifth layer in two groups."""
    layers = [("conv1", 55, 363, 96, 1), ("conv2", 27, 1200, 128, 2), ("conv3", 13, 2304, 384, 1)]
    layers += [("conv4", 13, 1728, 192, 2), ("conv5", 13, 1728, 128, 2)]
    dense = [("fc6", 9216, 4096), ("fc7", 4096, 4096), ("fc8", 4096, 1000)]
    return (
        *(Gemm(name=name, m=side**2, k=k, n=n, count=groups) for name, side, k, n, groups in layers),
        *(Gemm(name=name, m=1, k=k, n=n) for name, k, n in dense),
    )


def googlenet() -> tuple[Gemm, ...]:
    """Szegedy et al., arXiv 1409.4842, table 1, without its auxiliary classifiers."""
    gemms = [
        Gemm(name="conv1", m=112**2, k=147, n=64),
        Gemm(name="conv2 reduce", m=56**2, k=64, n=64),
        Gemm(name="conv2", m=56**2, k=576, n=192),
    ]
    blocks = {
        "3a": (28, 192, 64, 96, 128, 16, 32, 32), "3b": (28, 256, 128, 128, 192, 32, 96, 64), "4a": (14, 480, 192, 96, 208, 16, 48, 64),
        "4b": (14, 512, 160, 112, 224, 24, 64, 64), "4c": (14, 512, 128, 128, 256, 24, 64, 64), "4d": (14, 512, 112, 144, 288, 32, 64, 64),
        "4e": (14, 528, 256, 160, 320, 32, 128, 128), "5a": (7, 832, 256, 160, 320, 32, 128, 128), "5b": (7, 832, 384, 192, 384, 48, 128, 128),
    }  # fmt: skip
    for name, (side, inputs, one, reduce3, three, reduce5, five, pool) in blocks.items():
        parts = [("1x1", inputs, one), ("3x3 reduce", inputs, reduce3), ("3x3", 9 * reduce3, three)]
        parts += [("5x5 reduce", inputs, reduce5), ("5x5", 25 * reduce5, five), ("pool", inputs, pool)]
        gemms += [Gemm(name=f"{name} {part}", m=side**2, k=k, n=n) for part, k, n in parts]
    return (*gemms, Gemm(name="fc", m=1, k=1024, n=1000))


def resnet50() -> tuple[Gemm, ...]:
    """He et al., arXiv 1512.03385, table 1; a stage's stride is in its first 3 x 3 convolution."""
    gemms, inputs, before = [Gemm(name="conv1", m=112**2, k=147, n=64)], 64, 56
    for stage, (side, width, blocks) in enumerate([(56, 64, 3), (28, 128, 4), (14, 256, 6), (7, 512, 3)], 2):
        for block in range(blocks):
            name, source = f"conv{stage}.{block + 1}", before if block == 0 else side
            gemms.append(Gemm(name=f"{name} a", m=source**2, k=inputs, n=width))
            gemms.append(Gemm(name=f"{name} b", m=side**2, k=9 * width, n=width))
            gemms.append(Gemm(name=f"{name} c", m=side**2, k=width, n=4 * width))
            if block == 0:
                gemms.append(Gemm(name=f"{name} shortcut", m=side**2, k=inputs, n=4 * width))
            inputs = 4 * width
        before = side
    return (*gemms, Gemm(name="fc", m=1, k=2048, n=1000))


def mobilenet() -> tuple[Gemm, ...]:
    """Howard et al., arXiv 1704.04861, table 1, without its depthwise convolutions."""
    pointwise = [(112, 32, 64), (56, 64, 128), (56, 128, 128), (28, 128, 256), (28, 256, 256), (14, 256, 512)]
    pointwise += [(14, 512, 512)] * 5 + [(7, 512, 1024), (7, 1024, 1024)]
    return (
        Gemm(name="conv1", m=112**2, k=27, n=32),
        *(Gemm(name=f"pointwise {place}", m=side**2, k=k, n=n) for place, (side, k, n) in enumerate(pointwise, 1)),
        Gemm(name="fc", m=1, k=1024, n=1000),
    )  # fmt: skip


def bert_base(sequence: int = 128) -> tuple[Gemm, ...]:
    """Devlin et al., arXiv 1810.04805: twelve layers of width 768 with twelve heads, and the pooler."""
    return (
        Gemm(name="query, key, value, output", m=sequence, k=768, n=768, count=48),
        Gemm(name="scores", m=sequence, k=64, n=sequence, count=144),
        Gemm(name="weighted values", m=sequence, k=sequence, n=64, count=144),
        Gemm(name="feed-forward in", m=sequence, k=768, n=3072, count=12),
        Gemm(name="feed-forward out", m=sequence, k=3072, n=768, count=12),
        Gemm(name="pooler", m=1, k=768, n=768),
    )


TOPOLOGIES = {
    "AlexNet": alexnet, "GoogLeNet": googlenet, "ResNet-50": resnet50, "MobileNet": mobilenet, "BERT-base, 128 tokens": bert_base,
}  # fmt: skip
