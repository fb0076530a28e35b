/* Memory of a minibatch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/arena.h"
#include "common/rng.h"

static void pieces_are_aligned_and_do_not_overlap(void **state)
{
    (void)state;
    enum { PIECES = 300 };
    struct arena *arena = arena_create(1);
    struct rng rng = rng_make(1);
    unsigned char *pieces[PIECES];
    size_t bytes[PIECES];
    for (int i = 0; i < PIECES; i++) {
        bytes[i] = rng_below(&rng, 5000);
        pieces[i] = arena_alloc(arena, bytes[i]);
        assert_int_equal((uintptr_t)pieces[i] % 64, 0);
        memset(pieces[i], i & 0xff, bytes[i]);
    }
    for (int i = 0; i < PIECES; i++) {
        for (size_t b = 0; b < bytes[i]; b++)
            assert_int_equal(pieces[i][b], i & 0xff);
    }
    arena_destroy(arena);
}

static void the_second_batch_of_a_size_fits_one_chunk(void **state)
{
    (void)state;
    struct arena *arena = arena_create(4096);
    for (int i = 0; i < 100; i++)
        arena_alloc(arena, 4096);
    arena_reset(arena);
    /* One chunk: pieces follow each other without a gap. */
    unsigned char *first = arena_alloc(arena, 4096);
    for (int i = 1; i < 100; i++)
        assert_ptr_equal(arena_alloc(arena, 4096), first + i * 4096);
    arena_reset(arena);
    assert_ptr_equal(arena_alloc(arena, 1), first);
    arena_destroy(arena);
}

static void zeroed_pieces_are_zero_after_a_reset(void **state)
{
    (void)state;
    struct arena *arena = arena_create(0);
    memset(arena_alloc(arena, 1000), 0xff, 1000);
    arena_reset(arena);
    const unsigned char *piece = arena_zalloc(arena, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(piece[i], 0);
    arena_destroy(arena);
    arena_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(the_second_batch_of_a_size_fits_one_chunk),
        cmocka_unit_test(zeroed_pieces_are_zero_after_a_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
