"""What a claim is: contrasts over seeds, and the regions in which they should lie.

A hypothesis is a contrast (a weighted sum of a metric over points, one value per seed)
and the region in which the paper says it lies. Its verdict is

- supported, if the contrast is shown to lie inside the region,
- contradicted, if it is shown to lie outside,
- negligible, if neither is shown, but that the contrast is closer to zero than the
  margin `tables.MARGIN`: whichever setting is ahead, it does not matter,
- undecided otherwise,

at 5 %, by two-sided t tests over the seeds that are corrected for all hypotheses about
a table (Holm 1979), those about times apart, which differ from run to run. "No better"
is a region too, with the same margin: that something does not differ has to be shown,
as the two one-sided tests of Schuirmann (1987) do, and does not follow from a failure
to see a difference.
"""

import dataclasses
import math
from typing import NamedTuple

from mnistopt.paper.tables import MARGIN
from mnistopt.points import Point

SUPPORTED, CONTRADICTED = "supported", "contradicted"
NEGLIGIBLE, UNDECIDED = "negligible", "undecided"
VERDICTS = (SUPPORTED, CONTRADICTED, NEGLIGIBLE, UNDECIDED)


class Term(NamedTuple):
    """One point of a contrast.

    Attributes:
        weight: Its factor.
        point: The point.
        metric: A column of the table of seeds; "log " and one for its logarithm; or
            "log seconds", that of an epoch's seconds, of the table of speeds.
    """

    weight: int
    point: Point
    metric: str


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A contrast, and where the paper says it lies.

    Attributes:
        words: What is compared.
        terms: The contrast.
        low: Lower bound of the region.
        high: Its upper bound.
        ratio: Whether the terms are logarithms: the contrast's exponential, a ratio, is
            what is shown. The bounds are logarithms, too.
        figure: The contrast by the paper's own figures; None where it has none.
    """

    words: str
    terms: tuple[Term, ...]
    low: float = 0.0
    high: float = math.inf
    ratio: bool = False
    figure: float | None = None

    @property
    def of_time(self) -> bool:
        """Whether it is about seconds, which differ from run to run."""
        return self.terms[0].metric == "log seconds"

    @property
    def says_more(self) -> bool:
        """Whether it is that something is higher: it may then be so by next to nothing.

        Of accuracies and their gaps; the margin is about nothing else.
        """
        of_accuracy = self.terms[0].metric in ("test_accuracy", "overfitting")
        return of_accuracy and (self.low, self.high) == (0.0, math.inf)

    def at_margin(self, margin: float) -> "Hypothesis":
        """Returns it with another margin in place of `tables.MARGIN`."""
        bounds = {MARGIN: margin, -MARGIN: -margin}
        low, high = (bounds.get(bound, bound) for bound in (self.low, self.high))
        return dataclasses.replace(self, low=low, high=high)

    def on(self, metric: str) -> "Hypothesis":
        """Returns a difference of test accuracies as one of another metric."""
        if len(self.terms) == 1 or self.terms[0].metric != "test_accuracy":
            return self
        terms = tuple(term._replace(metric=metric) for term in self.terms)
        return dataclasses.replace(self, terms=terms)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence of the paper.

    Attributes:
        name: Of the claim.
        table: The number of the table it is about.
        section: Where it stands.
        words: What it says.
        hypotheses: It is supported if all are, contradicted if one is, and negligible
            if one is that and none contradicted.
    """

    name: str
    table: int
    section: str
    words: str
    hypotheses: tuple[Hypothesis, ...]
