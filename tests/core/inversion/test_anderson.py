"""Anderson acceleration where the answer is known."""

import pytest
import torch
from helpers.tensors import noise, relative
from singular_edit.core.inversion.anderson import solve


def linear(spectrum, rows=2, seed=0):
    """x = A x + b with a symmetric A of this spectrum: (g, b, solution)."""
    generator = torch.Generator().manual_seed(seed)
    n = len(spectrum)
    q, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.double, generator=generator))
    matrix = q @ torch.diag(spectrum) @ q.T
    b = torch.randn(rows, n, dtype=torch.double, generator=generator)

    def g(x):
        return x @ matrix.T + b

    solution = torch.linalg.solve(torch.eye(n, dtype=torch.double) - matrix, b.T).T
    return g, b, solution


def test_it_solves_what_plain_iteration_crawls_on():
    g, b, truth = linear(torch.linspace(-0.95, 0.95, 30, dtype=torch.double))
    solution = solve(g, b, 1e-8, 100, depth=8, patience=100)
    plain = b
    for _ in range(solution.calls):
        plain = g(plain)
    assert solution.solved.all()
    assert relative(solution.x, truth) < 1e-6
    assert relative(plain, truth) > 1e3 * relative(solution.x, truth)


def test_it_solves_what_does_not_contract():
    g, b, truth = linear(torch.tensor([-3.0, -1.5, 0.0, 0.5, 2.0], dtype=torch.double))
    solution = solve(g, b, 1e-8, 40)
    assert solution.solved.all()
    assert relative(solution.x, truth) < 1e-6


def test_one_call_is_enough_for_a_good_guess_and_its_answer_is_better_than_the_guess():
    g, _, truth = linear(torch.full((6,), 0.2, dtype=torch.double))
    guess = truth * 1.001
    solution = solve(g, guess, 1e-3, 10)
    assert solution.calls == 1
    assert relative(solution.x, truth) < 0.3 * relative(guess, truth)


def test_rows_do_not_depend_on_each_other():
    factors = (0.3, 0.9, 1.7)
    x = torch.randn(3, 9, dtype=torch.double, generator=torch.Generator().manual_seed(1))

    def all_rows(y):
        return torch.cos(y) * torch.tensor(factors, dtype=y.dtype)[:, None]

    together = solve(all_rows, x, 1e-9, 50)
    for row, factor in enumerate(factors):

        def one_row(y, factor=factor):
            return torch.cos(y) * factor

        alone = solve(one_row, x[row : row + 1], 1e-9, 50)
        assert torch.allclose(together.x[row : row + 1], alone.x, atol=1e-7)


def test_a_row_without_solution_stops_at_its_best_and_does_not_hold_up_the_others():
    """x = x^2 + 1 has no real solution; x = 0.3 cos x has."""

    def g(x):
        return torch.stack([x[0] ** 2 + 1, 0.3 * torch.cos(x[1])])

    def residual(x):
        return ((g(x) - x)[0].norm() / guess[0].norm()).item()

    guess = torch.full((2, 4), 0.4, dtype=torch.double)
    solution = solve(g, guess, 1e-8, 100)
    assert solution.solved.tolist() == [False, True]
    assert solution.calls < 60
    assert torch.isfinite(solution.x).all()
    assert solution.residual[0] <= residual(guess)
    assert solution.residual[0] == pytest.approx(residual(solution.x), rel=1e-6)


def test_a_single_evaluation_is_used_even_when_it_is_the_only_one_allowed():
    g, _, truth = linear(torch.full((6,), 0.2, dtype=torch.double))
    solution = solve(g, truth * 1.5, 1e-9, 1)
    assert solution.calls == 1
    assert not solution.solved.any()
    # One application of g leaves a fifth of the error.
    assert relative(solution.x, truth) == pytest.approx(0.1, rel=1e-6)


def test_an_answer_has_the_shape_of_the_guess():
    def g(x):
        return 0.3 * torch.cos(x)

    guess = noise((2, 4, 3, 5))
    solution = solve(g, guess, 1e-4, 20)
    assert solution.x.shape == guess.shape
    assert solution.residual.shape == (2,)
