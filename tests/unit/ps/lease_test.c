#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng.h"
#include "ps/lease.h"

static void the_size_of_a_lease_fits_batches_and_workers(void **state)
{
    (void)state;
    /* Few seeds: one lease of them all. */
    assert_int_equal(lease_seeds(140, 1024, 2, 0), 140);
    /* A quarter of each worker's share, rounded up to whole batches. */
    assert_int_equal(lease_seeds(100000, 1024, 2, 0), 13 * 1024);
    assert_int_equal(lease_seeds(8192, 1024, 2, 0), 1024);
    /* Never less than a batch while there are as many seeds. */
    assert_int_equal(lease_seeds(3000, 1024, 4, 0), 1024);
    assert_int_equal(lease_seeds(1000, 100, 4, 250), 250);
    assert_int_equal(lease_seeds(100, 100, 4, 250), 100);
    /* Not more leases than a book holds. */
    assert_true(lease_seeds(100000000, 1, 1, 1) >= 100000000 / LEASE_COUNT_MAX);
    assert_int_equal(lease_seeds(1, 1024, 100, 0), 1);
}

static void leases_cover_every_seed_once(void **state)
{
    (void)state;
    struct lease_book book;
    lease_book_init(&book, 3, 21, 10, 4);
    assert_int_equal(book.lease_count, 3);
    uint64_t expected = 0;
    for (uint32_t i = 0; i < book.lease_count; i++) {
        uint64_t begin = 0, end = 0;
        lease_book_range(&book, i, &begin, &end);
        assert_int_equal(begin, expected);
        assert_true(end > begin);
        expected = end;
    }
    assert_int_equal(expected, 10);
    uint32_t index = 0;
    assert_true(lease_book_find(&book, 23, &index));
    assert_int_equal(index, 2);
    assert_false(lease_book_find(&book, 20, &index));
    assert_false(lease_book_find(&book, 24, &index));
    lease_book_deinit(&book);
}

static void a_lease_counts_once_whoever_reports_it(void **state)
{
    (void)state;
    struct lease_book book;
    uint32_t index = 99;
    lease_book_init(&book, 0, 1, 8, 4);
    assert_true(lease_book_take(&book, 7, 100, &index));
    assert_int_equal(index, 0);
    assert_false(lease_book_done(&book, 0, 8)); /* another holds it */
    assert_true(lease_book_done(&book, 0, 7));
    assert_false(lease_book_done(&book, 0, 7));
    assert_int_equal(book.seeds_done, 4);
    /* Its holder was forgotten: what is finished is finished. */
    assert_true(lease_book_done(&book, 1, 9));
    assert_true(lease_book_complete(&book));
    assert_int_equal(book.seeds_done, 8);
    assert_false(lease_book_take(&book, 7, 100, &index));
    lease_book_deinit(&book);
}

static void a_lease_that_is_not_renewed_goes_to_another(void **state)
{
    (void)state;
    struct lease_book book;
    uint32_t index = 0;
    lease_book_init(&book, 0, 1, 8, 4);
    assert_true(lease_book_take(&book, 7, 100, &index));
    assert_true(lease_book_renew(&book, 0, 7, 200));
    assert_int_equal(lease_book_expire(&book, 150), 0);
    assert_int_equal(lease_book_expire(&book, 200), 1);
    assert_true(lease_book_take(&book, 8, 400, &index));
    assert_int_equal(index, 0);
    assert_false(lease_book_renew(&book, 0, 7, 500));
    assert_false(lease_book_done(&book, 0, 7));
    assert_true(lease_book_done(&book, 0, 8));
    lease_book_deinit(&book);
}

static void a_free_lease_belongs_to_whoever_says_so(void **state)
{
    (void)state;
    struct lease_book book;
    uint32_t index = 0;
    lease_book_init(&book, 0, 1, 12, 4);
    assert_true(lease_book_renew(&book, 0, 7, 100));
    assert_false(lease_book_renew(&book, 0, 8, 100));
    assert_true(lease_book_take(&book, 8, 100, &index));
    assert_int_equal(index, 1);
    assert_int_equal(lease_book_release(&book, 7), 1);
    assert_true(lease_book_take(&book, 8, 100, &index));
    assert_int_equal(index, 0);
    lease_book_deinit(&book);
}

static void what_is_done_survives_saving(void **state)
{
    (void)state;
    struct lease_book book, loaded;
    uint8_t bits[2] = {0};
    uint32_t index = 0;
    lease_book_init(&book, 0, 1, 39, 4); /* ten leases, the last with 3 seeds */
    assert_true(lease_book_take(&book, 7, 100, &index));
    assert_true(lease_book_done(&book, 9, 7));
    assert_true(lease_book_done(&book, 3, 7));
    lease_book_save(&book, bits);
    lease_book_init(&loaded, 0, 1, 39, 4);
    assert_false(lease_book_load(&loaded, bits, 1));
    assert_true(lease_book_load(&loaded, bits, 2));
    assert_int_equal(loaded.seeds_done, 7);
    assert_int_equal(loaded.done_count, 2);
    assert_int_equal(loaded.free_count, 8); /* the one that was held is free */
    lease_book_deinit(&book);
    lease_book_deinit(&loaded);
}

/* The slow reference: three plain arrays. */
struct reference {
    int done[40], session[40];
    uint64_t deadline[40];
};

static void random_step(struct lease_book *book, struct reference *reference, struct rng *rng,
                        uint64_t now)
{
    uint32_t index = (uint32_t)rng_below(rng, book->lease_count);
    int session = 1 + (int)rng_below(rng, 4);
    bool free = !reference->done[index] && reference->session[index] == 0;
    bool own = !reference->done[index] && reference->session[index] == session;
    switch (rng_below(rng, 5)) {
    case 0:
        if (lease_book_take(book, (uint64_t)session, now + 20, &index)) {
            assert_true(!reference->done[index] && reference->session[index] == 0);
            reference->session[index] = session;
            reference->deadline[index] = now + 20;
        } else {
            for (uint32_t i = 0; i < book->lease_count; i++)
                assert_true(reference->done[i] || reference->session[i] != 0);
        }
        break;
    case 1:
        assert_int_equal(lease_book_done(book, index, (uint64_t)session), free || own);
        if (free || own) reference->done[index] = 1;
        break;
    case 2:
        assert_int_equal(lease_book_renew(book, index, (uint64_t)session, now + 20), free || own);
        if (!free && !own) break;
        reference->session[index] = session;
        reference->deadline[index] = now + 20;
        break;
    case 3:
        lease_book_release(book, (uint64_t)session);
        for (uint32_t i = 0; i < book->lease_count; i++)
            if (!reference->done[i] && reference->session[i] == session) reference->session[i] = 0;
        break;
    default:
        lease_book_expire(book, now);
        for (uint32_t i = 0; i < book->lease_count; i++)
            if (!reference->done[i] && reference->deadline[i] <= now) reference->session[i] = 0;
    }
}

static void random_operations_agree_with_a_slow_reference(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rng rng = rng_make(rng_key(11, seed));
        struct reference reference = {0};
        struct lease_book book;
        lease_book_init(&book, 0, 1, 1 + rng_below(&rng, 40), 1);
        for (uint64_t now = 0; now < 400; now++)
            random_step(&book, &reference, &rng, now);
        uint32_t done = 0;
        for (uint32_t i = 0; i < book.lease_count; i++)
            done += (uint32_t)reference.done[i];
        assert_int_equal(book.done_count, done);
        assert_int_equal(book.seeds_done, done);
        lease_book_deinit(&book);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_size_of_a_lease_fits_batches_and_workers),
        cmocka_unit_test(leases_cover_every_seed_once),
        cmocka_unit_test(a_lease_counts_once_whoever_reports_it),
        cmocka_unit_test(a_lease_that_is_not_renewed_goes_to_another),
        cmocka_unit_test(a_free_lease_belongs_to_whoever_says_so),
        cmocka_unit_test(what_is_done_survives_saving),
        cmocka_unit_test(random_operations_agree_with_a_slow_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
