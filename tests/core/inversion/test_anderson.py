"""Anderson acceleration where the answer is known."""

import pytest
import torch
from singular_edit.core.inversion.anderson import solve


def linear(spectrum, rows=2, seed=0):
    """x = A x + b with a symmetric A of this spectrum: (g, b, solution)."""
    generator = torch.Generator().manual_seed(seed)
    n = len(spectrum)
    q, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.double, generator=generator))
    matrix = q @ torch.diag(spectrum) @ q.T
    b = torch.randn(rows, n, dtype=torch.double, generator=generator)
    return lambda x: x @ matrix.T + b, b, torch.linalg.solve(torch.eye(n, dtype=torch.double) - matrix, b.T).T


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


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
    g = lambda x: torch.cos(x) * torch.tensor([[0.3], [0.9], [1.7]], dtype=x.dtype)[: len(x)]
    x = torch.randn(3, 9, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    together = solve(g, x, 1e-9, 50)
    for row, factor in enumerate((0.3, 0.9, 1.7)):
        alone = solve(lambda y: torch.cos(y) * factor, x[row : row + 1], 1e-9, 50)
        assert torch.allclose(together.x[row : row + 1], alone.x, atol=1e-7)


def test_a_row_without_solution_stands_at_its_best_and_does_not_hold_up_the_others():
    """x = x^2 + 1 has no real solution; x = 0.3 cos x has."""

    def g(x):
        return torch.stack([x[0] ** 2 + 1, 0.3 * torch.cos(x[1])])

    guess = torch.full((2, 4), 0.4, dtype=torch.double)
    solution = solve(g, guess, 1e-8, 100)
    assert solution.solved.tolist() == [False, True]
    assert solution.calls < 60
    assert torch.isfinite(solution.x).all()
    assert solution.residual[0] <= (g(guess) - guess)[0].norm() / guess[0].norm()
    assert solution.residual[0] == pytest.approx(
        ((g(solution.x) - solution.x)[0].norm() / guess[0].norm()).item(), rel=1e-6
    )


def test_a_single_evaluation_is_used_even_when_it_is_the_only_one_allowed():
    g, _, truth = linear(torch.full((6,), 0.2, dtype=torch.double))
    solution = solve(g, truth * 1.5, 1e-9, 1)
    assert solution.calls == 1
    assert not solution.solved.any()
    assert relative(solution.x, truth) == pytest.approx(0.1, rel=1e-6)  # g of the guess: a fifth of the error
