/* Counter-based random numbers: the n-th number of a stream is a function of (key, n), so that a
 * choice can be made again by anyone who knows the key. Not for secrets.
 * source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators" (SplitMix64;
 * its state is a counter). */
#ifndef ANTHILL_COMMON_RNG_H
#define ANTHILL_COMMON_RNG_H

#include <math.h>
#include <stdint.h>

struct rng {
    uint64_t key;
    uint64_t counter;
};

/* The finaliser of SplitMix64: a bijection of 64-bit numbers that mixes every bit. */
static inline uint64_t rng_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* A key from two numbers; nest it for more: rng_key(rng_key(seed, epoch), batch). */
static inline uint64_t rng_key(uint64_t a, uint64_t b)
{
    return rng_mix(rng_mix(a + UINT64_C(0x9e3779b97f4a7c15)) ^ (b + UINT64_C(0xd1b54a32d192ed03)));
}

static inline struct rng rng_make(uint64_t key)
{
    return (struct rng){.key = key, .counter = 0};
}

static inline uint64_t rng_u64(struct rng *rng)
{
    return rng_mix(rng->key + UINT64_C(0x9e3779b97f4a7c15) * ++rng->counter);
}

/* Uniform in [0, bound), bound > 0. source: Lemire 2019, multiply-shift without the rejection
 * step; the bias is below bound / 2^64. */
static inline uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)rng_u64(rng) * bound) >> 64);
}

/* Uniform in [0, 1), 24 bits. */
static inline float rng_float(struct rng *rng)
{
    return (float)(rng_u64(rng) >> 40) * 0x1p-24f;
}

/* Standard normal. source: Box and Muller 1958; one of the pair is used. */
static inline float rng_normal(struct rng *rng)
{
    double u = (double)((rng_u64(rng) >> 11) + 1) * 0x1p-53;
    double v = (double)(rng_u64(rng) >> 11) * 0x1p-53;
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

/* The image of `index` under a pseudo-random permutation of [0, count) chosen by `key`: shuffles
 * without memory. index < count. source: Black and Rogaway 2002 (cycle walking over a balanced
 * Feistel network of four rounds, ten for fewer than 65 indices). */
uint64_t rng_permute(uint64_t key, uint64_t count, uint64_t index);

#endif
