#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ps/transfer.h"

#define S UINT64_C(1000000000)

static void expect_line(const struct transfer *transfer, const char *expected)
{
    struct text text = {0};
    transfer_format(transfer, &text);
    assert_string_equal(text.data, expected);
    text_deinit(&text);
}

static void the_line_says_how_far_how_fast_and_how_long(void **state)
{
    (void)state;
    struct transfer transfer = {.done_to = "rows exported", .total = 10000000};
    expect_line(&transfer, "0 of 10.0M rows exported  0%");
    for (uint64_t second = 0; second <= 4; second++)
        progress_rate_add(&transfer.rate, second * S, second * 1000000);
    transfer.done = 4200000;
    expect_line(&transfer, "4.2M of 10.0M rows exported  42%  1.0M rows/s  0:06 left");
}

static void rows_that_come_into_being_meanwhile_count_too(void **state)
{
    (void)state;
    struct transfer transfer = {.done_to = "rows exported", .total = 900, .done = 950};
    expect_line(&transfer, "950 of 950 rows exported  100%");
    progress_rate_add(&transfer.rate, 0, 0);
    progress_rate_add(&transfer.rate, S, 950);
    expect_line(&transfer, "950 of 950 rows exported  100%  950 rows/s");
}

static void what_is_quick_writes_nothing(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const int descriptors[2] = {ends[1], -1};
    for (unsigned i = 0; i < 2; i++) {
        struct transfer transfer;
        transfer_begin(&transfer, "rows exported", 2, descriptors[i]);
        transfer_add(&transfer, 1);
        transfer_add(&transfer, 1);
        assert_int_equal(transfer.done, 2);
        assert_true(transfer_end(&transfer) >= 0);
    }
    close(ends[1]);
    char byte;
    assert_int_equal(read(ends[0], &byte, 1), 0);
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_says_how_far_how_fast_and_how_long),
        cmocka_unit_test(rows_that_come_into_being_meanwhile_count_too),
        cmocka_unit_test(what_is_quick_writes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
