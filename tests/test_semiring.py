import math

from diffprobe.datasets.inference.semiring import from_remainders, primes_beyond


def test_primes_are_prime_and_enough() -> None:
    primes = primes_beyond(10**40)
    assert math.prod(primes) > 10**40 >= math.prod(primes[:-1])
    assert len(set(primes)) == len(primes)
    for p in primes:
        assert p < 2**31
        assert all(p % d for d in range(2, math.isqrt(p) + 1))


def test_remainders_determine_the_number() -> None:
    primes = primes_beyond(10**30)
    for number in (0, 1, 10**30, 123456789012345678901234567890):
        assert from_remainders([number % p for p in primes], primes) == number
