/* Pieces of a stretch of memory, against a plain list of what is out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/region.h"
#include "common/rng.h"

enum { OUT_MAX = 300, BYTES = 1 << 22 };

struct out {
    unsigned char *piece;
    uint64_t bytes;
    unsigned char mark;
};

static uint64_t test_seed(void)
{
    const char *text = getenv("ANTHILL_TEST_SEED");
    uint64_t seed = text == NULL ? 1 : strtoull(text, NULL, 10);
    print_message("seed %llu\n", (unsigned long long)seed);
    return seed;
}

static void assert_marked(const struct out *out)
{
    for (uint64_t i = 0; i < out->bytes; i++)
        assert_int_equal(out->piece[i], out->mark);
}

static void pieces_hold_what_was_written_until_they_are_freed(void **state)
{
    (void)state;
    struct rng rng = rng_make(test_seed());
    unsigned char *base = aligned_alloc(64, BYTES);
    struct region region;
    region_init(&region, base, BYTES);
    struct out outs[OUT_MAX];
    unsigned count = 0, refused = 0;
    for (unsigned step = 0; step < 20000; step++) {
        if (count > 0 && (count == OUT_MAX || rng_below(&rng, 2) == 0)) {
            unsigned place = (unsigned)rng_below(&rng, count);
            assert_marked(&outs[place]);
            region_free(&region, outs[place].piece);
            outs[place] = outs[--count];
            continue;
        }
        uint64_t bytes = rng_below(&rng, UINT64_C(1) << rng_below(&rng, 17));
        struct out out = {region_alloc(&region, bytes), bytes, (unsigned char)step};
        if (out.piece == NULL) {
            refused++;
            continue;
        }
        assert_int_equal((uintptr_t)out.piece % 64, 0);
        assert_true(region_contains(&region, out.piece, bytes));
        memset(out.piece, out.mark, bytes);
        outs[count++] = out;
    }
    assert_true(refused < 5000);
    for (unsigned i = 0; i < count; i++)
        assert_marked(&outs[i]);
    region_deinit(&region);
    free(base);
}

static void a_piece_is_at_most_a_quarter_too_large_and_is_used_again(void **state)
{
    (void)state;
    unsigned char *base = aligned_alloc(64, BYTES);
    for (uint64_t bytes = 1; bytes < BYTES; bytes += bytes / 7 + 1) {
        struct region region;
        region_init(&region, base, BYTES);
        void *piece = region_alloc(&region, bytes);
        if (piece == NULL) {
            assert_true(bytes > BYTES / 5 * 4);
        } else {
            assert_true(region.used >= bytes);
            assert_true(region.used <= bytes + bytes / 4 + 64);
            region_free(&region, piece);
            assert_ptr_equal(region_alloc(&region, bytes), piece);
        }
        region_deinit(&region);
    }
    free(base);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    unsigned char *base = aligned_alloc(64, 4096);
    struct region region;
    region_init(&region, base, 4096);
    assert_null(region_alloc(&region, 4097));
    assert_null(region_alloc(&region, UINT64_MAX));
    void *whole = region_alloc(&region, 4096);
    assert_ptr_equal(whole, base);
    assert_null(region_alloc(&region, 0));
    region_free(&region, whole);
    region_free(&region, NULL);
    assert_ptr_equal(region_alloc(&region, 100), whole); /* a larger piece serves as well */
    assert_true(region_contains(&region, base + 4096, 0));
    assert_false(region_contains(&region, base + 4000, 97));
    assert_false(region_contains(&region, base + 1, UINT64_MAX));
    assert_false(region_contains(&region, base - 1, 1));
    region_deinit(&region);
    region_init(&region, NULL, 0);
    assert_null(region_alloc(&region, 1));
    region_deinit(&region);
    free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_hold_what_was_written_until_they_are_freed),
        cmocka_unit_test(a_piece_is_at_most_a_quarter_too_large_and_is_used_again),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
