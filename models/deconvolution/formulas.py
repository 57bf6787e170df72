"""The arithmetic between the transforms, as recipes: bits of the vector unit.

Rows are frames, elements pixels or frequencies. Factors keep what is stored within the format: of FP16 they matter, of FP32 they are powers of two
that change nothing.
"""

from functools import lru_cache

from lanewise.models.recipe import Recipe


@lru_cache(maxsize=16)
def field(bits: int) -> Recipe:
    """P cos(phi) and P sin(phi) of what Flex-SFU has looked up in FP16."""
    recipe = Recipe(bits)
    aperture = recipe.load("aperture")
    for source, target in (("cos", "in real"), ("sin", "in imaginary")):
        recipe.store(recipe.multiply(recipe.load(source, bits=16), aperture), target)
    return recipe


@lru_cache(maxsize=16)
def intensity(bits: int, scale: float) -> Recipe:
    """psf = scale |W|**2; ``scale`` goes to one factor first, so that FP16 does not overflow."""
    recipe = Recipe(bits)
    x, y = recipe.load("out real"), recipe.load("out imaginary")
    a, b = recipe.times(scale, x), recipe.times(scale, y)
    assert a is not None
    assert b is not None
    recipe.store(recipe.add_product(recipe.multiply(a, x), b, y), "psf")
    return recipe


@lru_cache(maxsize=16)
def object_of(frames: int, bits: int, sigma: float, *, final: bool) -> tuple[Recipe, ...]:
    """From S and I of all frames at a frequency: O and a zero where ``final``, else the slopes G of each frame.

    ``sigma`` in units of sum |S|**2 as it is stored. Streams ``S real`` and so on, ``frames`` rows each; ``mask`` of one row.
    """
    recipe = Recipe(bits)
    denominator = recipe.constant(sigma)
    real = imaginary = -1
    for j in range(frames):
        a, b = recipe.load("S real", j), recipe.load("S imaginary", j)
        c, d = recipe.load("I real", j), recipe.load("I imaginary", j)
        denominator = recipe.add_product(recipe.add_product(denominator, a, a), b, b)
        real = recipe.multiply(a, c) if j == 0 else recipe.add_product(real, a, c)
        real = recipe.add_product(real, b, d)
        imaginary = recipe.multiply(a, d) if j == 0 else recipe.add_product(imaginary, a, d)
        imaginary = recipe.subtract_product(imaginary, b, c)
    inverse = recipe.reciprocal(denominator)
    factor = recipe.multiply(inverse, recipe.load("mask"))
    real, imaginary = recipe.multiply(real, factor), recipe.multiply(imaginary, factor)
    if final:
        recipe.store(real, "O real")
        recipe.store(imaginary, "O imaginary")
        for part in ("real", "imaginary"):  # planes are transformed in pairs
            recipe.store(recipe.constant(0.0), f"O {part}", 1)
        return (recipe,)
    missed = recipe.times(sigma, inverse)
    assert missed is not None
    once = recipe.plus(1.0, missed)
    twice = recipe.add(once, missed)
    assert twice is not None
    power = recipe.add_product(recipe.multiply(real, real), imaginary, imaginary)
    across = recipe.multiply(power, twice)
    real, imaginary = recipe.multiply(real, once), recipe.multiply(imaginary, once)
    for j in range(frames):
        a, b = recipe.load("S real", j), recipe.load("S imaginary", j)
        c, d = recipe.load("I real", j), recipe.load("I imaginary", j)
        x = recipe.add_product(recipe.multiply(real, c), imaginary, d)
        y = recipe.product_subtract(imaginary, c, recipe.multiply(real, d))
        recipe.store(recipe.subtract_product(x, across, a), "G real", j)
        recipe.store(recipe.add_product(y, across, b), "G imaginary", j)
    return (recipe,)


@lru_cache(maxsize=16)
def weighted_wave(bits: int, scale: float) -> Recipe:
    """scale g conj(W): the slope by the psf times the wave."""
    recipe = Recipe(bits)
    g = recipe.load("slope")
    for sign, part in ((scale, "real"), (-scale, "imaginary")):
        scaled = recipe.times(sign, g)
        assert scaled is not None
        recipe.store(recipe.multiply(scaled, recipe.load(f"out {part}")), f"in {part}")
    return recipe


@lru_cache(maxsize=16)
def phase_slope(bits: int, scale: float, *, integer: bool) -> Recipe:
    """scale Im(A B) of the field and the transform that came back: FP16, or INT8 for the array."""
    recipe = Recipe(bits)
    x, y, u, v = (recipe.load(name) for name in ("in real", "in imaginary", "out real", "out imaginary"))
    slope = recipe.times(scale, recipe.add_product(recipe.multiply(x, v), y, u))
    assert slope is not None
    if integer:
        recipe.store_integer(slope, "phase slope")
    else:
        recipe.store(slope, "phase slope", bits=16)
    return recipe
