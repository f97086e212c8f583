from __future__ import annotations

from threadpoolctl import threadpool_info, threadpool_limits

from jamie._threads import blas_threads


def threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_products_take_so_many_threads_for_a_while():
    before = threads()
    assert before
    with threadpool_limits(2, user_api="blas"):
        two = threads()
    for _ in range(2):  # the second time with libraries that were found the first time
        with blas_threads(2):
            assert threads() == two
            with blas_threads(1):
                assert set(threads()) == {1}
            assert threads() == two
        assert threads() == before
