"""What a law of sizes declares and writes: columns, parameters, its formula, and what the contract test simulates.

How such a law is fitted stands apart: :class:`mixlaw.laws.fit.scale_law.ScaleLaw` fits any formula by least squares;
:mod:`mixlaw.laws.fit.mixture_at_scale` holds laws with fits of their own.

Legend: B problems fitted side by side (targets, starts, resampled runs), n rows, K domains, P numbers theta in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mixlaw.data.columns import COUNTS
from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.columns import WEIGHTS, check_column, check_weights, column_range, weight_columns
from mixlaw.laws.core.examples import DOMAINS, mixture_rows
from mixlaw.laws.core.parameters import Layout, Parameter
from mixlaw.laws.fit.engine import Ints, Model
from mixlaw.laws.fit.objective import slopes_and_differences

__all__ = ["ScaleForm"]


class ScaleForm(Law):
    """A law of sizes, and perhaps of the mixture, as its declaration and its formula; families inherit from the classes
    that fit one.

    Example:
        >>> from mixlaw.laws import Chinchilla, JointLaw
        >>> issubclass(Chinchilla, ScaleForm), issubclass(JointLaw, ScaleForm), Chinchilla.columns
        (True, True, ('params', 'tokens'))
    """

    kind: ClassVar[Any] = "scale"
    allows_missing = True

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a declaration that would be read as something else."""
        super().__init_subclass__(**options)
        if isinstance(cls.columns, str):
            raise ConfigError(
                f"{cls.__name__}: columns = {cls.columns!r} is one text; write a tuple of names, "
                f"columns = ({cls.columns!r},)."
            )

    columns: Any = ()
    """Names of the columns of X, in the order in which :meth:`loss` takes them. ``"weights"`` stands for a block: one
    column per domain, whatever these are called."""
    parameters: Any = None
    """Name to declaration (:mod:`mixlaw.laws.core.parameters`)."""
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Usual least and greatest value of columns that :mod:`mixlaw.laws.core.columns` does not know."""

    loss: Any
    """A family's method ``loss(self, p, *columns) -> (B, n)``: predicted losses. ``p`` holds each declared parameter as
    (B, 1), or (B, K) per domain; columns are (n,), and ``"weights"`` is (n, K). Where a constructor has an option
    ``loss=``, the name holds that on a constructed law; to call the method there, use :meth:`curve`."""

    # ---- written by a family -------------------------------------------------------------------------
    def slopes(self, p: Any, *columns: Any) -> Mapping[str, Any]:
        """d loss / d parameter by name, each (B, n) or what broadcasts to it, (B, n, K) per domain; arguments as of
        ``loss``."""
        raise NotImplementedError(f"{type(self).__name__} must define slopes(self, p, {', '.join(self.columns)}).")

    # ---- hooks: a family overrides those it needs -----------------------------------------------------
    def loss_and_slopes(self, p: Any, *columns: Any) -> tuple[Array, Mapping[str, Any]]:
        """Losses (B, n) and slopes by parameter, (B, n) each or (B, n, K) per domain. Override where they share costly
        terms, and let ``slopes`` return the second half of it."""
        return self.curve(p, *columns), self.slopes(p, *columns)

    def check_rows(self, *columns: Array) -> None:
        """Refuse rows (columns (n,), weights (n, K)) that the law cannot be asked about; default: each column by
        itself, see :func:`mixlaw.laws.core.columns.check_column`. Called for fits and predictions."""
        for name, values in zip(self.columns, columns):
            if name == WEIGHTS:
                check_weights(values)
            else:
                check_column(values, name)

    def report(self, values: dict[str, Array]) -> dict[str, Array]:
        """``parameters_`` as users read them, each (B,) or (B, K), from the fitted ones; default: these themselves.
        Override to add what follows from them, or what an option holds fixed."""
        return values

    def example_rows(self, num: int, rng: np.random.Generator) -> dict[str, Array]:
        """``num`` plausible rows, at which the contract test simulates. Default: mixtures of four domains drawn evenly,
        and each other column log-uniformly from its usual range (:func:`mixlaw.laws.core.columns.column_range`,
        ``ranges``)."""
        out = {}
        for name in self.columns:
            if name == WEIGHTS:
                out.update(mixture_rows(num, rng))
                continue
            low, high = self.ranges.get(name) or column_range(name)
            out[name] = np.exp(rng.uniform(np.log(low), np.log(high), num))
        return out

    # ---- what the contract test asks ------------------------------------------------------------------
    def example_losses(self, X: Mapping[str, npt.ArrayLike]) -> Array:
        """(n,) values of y without noise at columns of X, of the declared parameters."""
        matrix = np.column_stack([np.asarray(values, dtype=float) for values in X.values()])
        columns = self._columns_of(matrix[:, self._order(list(X), matrix.shape[1])])
        domains = matrix.shape[1] - len(self.columns) + 1 if WEIGHTS in self.columns else 0
        truth = {name: value[None] for name, value in Layout(self.parameters, domains).truth().items()}
        return np.broadcast_to(self.curve(SimpleNamespace(**truth), *columns), (1, len(matrix)))[0].copy()

    def example_parameters(self) -> dict[str, Any]:
        """What ``parameters_`` of a fit to such losses should be: a number each, or one per domain."""
        truth = self.report({n: v[None] if v.size > 1 else v for n, v in self.layout.truth().items()})
        return {name: v[0].tolist() for name, v in truth.items()}

    def example_slopes(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """d loss / d theta (3, n, P) near the declared parameters, from :meth:`slopes` and by central differences."""
        layout, rows = self.layout, self.example_rows(24, rng)
        theta = layout.join(layout.truth()) + 0.02 * rng.normal(size=(3, layout.size))
        matrix = np.column_stack(list(rows.values()))
        model = self._model(self._columns_of(matrix[:, self._order(list(rows), matrix.shape[1])]))
        return slopes_and_differences(model, np.clip(theta, *layout.bounds()))

    @property
    def count_columns(self) -> tuple[str, ...]:
        """Sizes and token counts among the law's columns."""
        return tuple(name for name in self.columns if name in COUNTS)

    # ---- inherited --------------------------------------------------------------------------------------
    @property
    def layout(self) -> Layout:
        """The parameters side by side, as theta (B, P) holds them.

        Raises:
            ConfigError: the law declares no parameters.
        """
        declared: Mapping[str, Parameter] = self.parameters
        if not declared:
            raise ConfigError(f"{type(self).__name__} declares no parameters = {{name: Positive(...), ...}}.")
        return Layout(declared, self.num_domains)

    def meaning(self, parameter: str) -> str:
        """As declared."""
        return self.parameters[parameter].meaning if parameter in self.parameters else ""

    @property
    def num_domains(self) -> int:
        """K: how many columns of X are weights; of a law that is not fitted, as many as in its examples."""
        if WEIGHTS not in self.columns:
            return 0
        return len(self.domain_names) if self.fitted else len(DOMAINS)

    @property
    def domain_names(self) -> list[str]:
        """Names of the columns of weights, in their order; none for a law that reads no weights."""
        if WEIGHTS not in self.columns:
            return []
        names = [str(n) for n in self.feature_names_in_]
        order, first = self._order(names, len(names)), list(self.columns).index(WEIGHTS)
        return [names[i] for i in order[first : len(order) - len(self.columns) + 1 + first]]

    def curve(self, p: SimpleNamespace, *columns: Array) -> Array:
        """Losses (B, n) in nats at columns: the family's method ``loss`` on a constructed law, where that name may hold
        an option."""
        return np.asarray(type(self).loss(self, p, *columns), dtype=float)

    # ---- the formula at internal parameters ----------------------------------------------------------
    def described(self, theta: Array) -> dict[str, Array]:
        """Declared parameters by name, (B,) or (B, K) each, of internal ones (B, P)."""
        return self.layout.describe(theta)

    def values_at(self, theta: Array, columns: Sequence[Array]) -> Array:
        """(B, n) predictions in the unit of y of internal parameters theta (B, P) at columns: (n,) each, weights
        (n, K)."""
        with np.errstate(over="ignore"):
            value = self.curve(self.layout.split(theta), *columns)
        return np.broadcast_to(value, (len(theta), len(columns[0])))

    def value_and_slopes(self, theta: Array, columns: Sequence[Array]) -> tuple[Array, Array]:
        """Predictions (B, n) and their slopes in theta (B, n, P), arguments as of :meth:`values_at`."""
        with np.errstate(all="ignore"):
            return self._model(columns)(theta, np.zeros(len(theta), dtype=np.int64))

    def _column_names(self, num: int) -> list[str]:
        domains = [f"x{i}" for i in range(num - len(self.columns) + 1)]
        return [n for name in self.columns for n in (domains if name == WEIGHTS else [name])]

    def _order(self, names: Sequence[str] | None, num: int) -> list[int]:
        """Positions in X of the family's columns, those of a block of weights one after another."""
        wanted, law = list(self.columns), type(self).__name__
        if names is None or all(n.startswith("x") and n[1:].isdigit() for n in names):
            if num < len(wanted) or (num > len(wanted) and WEIGHTS not in wanted):
                raise DataError(f"{law} reads a plain array as columns {wanted}; got {num} columns.")
            return list(range(num))
        sizes = [c for c in wanted if c != WEIGHTS]
        missing = [c for c in sizes if c not in names]
        if missing:
            raise DataError(f"{law} needs the columns {wanted}; X lacks {missing}, it has {list(names)}.")
        domains = weight_columns(names, sizes) if WEIGHTS in wanted else []
        if WEIGHTS in wanted and not domains:
            raise DataError(
                f"{law} needs one column of mixture weights per domain beside {sizes}; X has only {list(names)}."
            )
        return [i for c in wanted for i in (domains if c == WEIGHTS else [list(names).index(c)])]

    def _columns_of(self, Z: Array) -> tuple[Array, ...]:
        """The family's columns, (n,) each and weights (n, K), of a matrix in the order of :meth:`_order`."""
        out, at = [], 0
        for name in self.columns:
            if name == WEIGHTS:
                width = Z.shape[1] - len(self.columns) + 1
                out.append(np.ascontiguousarray(Z[:, at : at + width]))
                at += width
            else:
                out.append(np.ascontiguousarray(Z[:, at]))
                at += 1
        return tuple(out)

    def _used(self, X: Array) -> tuple[Array, ...]:
        """The family's columns of rows as they were given to ``fit``."""
        return self._columns_of(X[:, self._order([str(n) for n in self.feature_names_in_], X.shape[1])])

    def _model(self, columns: Sequence[Array]) -> Model:
        """The law as the solver wants it: theta (B, P) to losses (B, n) and their Jacobian (B, n, P)."""
        layout, n = self.layout, len(columns[0])

        def model(theta: Array, problem: Ints) -> tuple[Array, Array]:
            p = layout.split(theta)
            value, slopes = self.loss_and_slopes(p, *columns)
            if value.shape != (len(theta), n):
                value = np.broadcast_to(value, (len(theta), n))
            return value, layout.jacobian(p, slopes, n)

        return model
