#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ps/progress.h"

#define S UINT64_C(1000000000)

static struct coordinator_view half_way(void)
{
    return (struct coordinator_view){
        .name = "cora",
        .phase = "training",
        .epoch = 5,
        .epochs = 10,
        .fraction = 0.5,
        .seeds = 70000,
        .seconds = 7,
        .has_loss = true,
        .loss = 0.41234,
        .has_best = true,
        .best = 0.79,
        .best_name = "valid/accuracy",
        .running = true,
    };
}

static void the_line_says_rate_time_left_loss_and_best(void **state)
{
    (void)state;
    struct coordinator_view view = half_way();
    struct progress_rate rate = {0};
    struct text text = {0};
    for (uint64_t second = 0; second <= 7; second++)
        progress_rate_add(&rate, second * S, second * 10000);
    progress_format(&view, &rate, false, 200, &text);
    assert_string_equal(text.data, "cora  epoch 5/10  50%  10.0k seeds/s  0:07 left  loss 0.4123"
                                   "  best valid/accuracy 0.7900");
    text_deinit(&text);
    progress_format(&view, &rate, true, 200, &text);
    assert_non_null(strstr(text.data, "[============>           ]"));
    text_deinit(&text);
    progress_format(&view, &rate, true, 30, &text);
    assert_int_equal(strlen(text.data), 30);
    text_deinit(&text);
}

static void the_rate_forgets_what_is_old_and_never_falls_below_zero(void **state)
{
    (void)state;
    struct progress_rate rate = {0};
    uint64_t seeds = 0;
    for (uint64_t second = 0; second < 100; second++) {
        seeds += second < 50 ? 1000 : 10;
        progress_rate_add(&rate, second * S, seeds);
    }
    assert_true(rate.per_second > 9 && rate.per_second < 11);
    progress_rate_add(&rate, 101 * S, 0);
    assert_true(rate.per_second == 0);
}

static void waiting_says_for_whom(void **state)
{
    (void)state;
    struct coordinator_view view = {
        .name = "cora", .phase = "waiting", .shards_ready = 1, .shards = 2, .workers_expected = 4};
    struct progress_rate rate = {0};
    struct text text = {0};
    progress_format(&view, &rate, true, 200, &text);
    assert_string_equal(text.data, "cora  waiting: 1 of 2 shards ready, 0 of 4 workers");
    text_deinit(&text);
}

static size_t lines_in(int descriptor)
{
    char data[65536];
    ssize_t got = read(descriptor, data, sizeof data);
    size_t lines = 0;
    for (ssize_t i = 0; i < got; i++)
        lines += data[i] == '\n';
    return lines;
}

static void plain_lines_come_every_ten_seconds_and_after_evaluations(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct coordinator_view view = half_way();
    struct progress *progress = progress_create(PROGRESS_AUTO, ends[1]);
    for (uint64_t tick = 1; tick <= 300; tick++) /* 30 s; an evaluation at 15 s */ {
        view.evaluated_epoch = tick >= 150;
        progress_update(progress, tick * S / 10, &view, false);
    }
    progress_update(progress, 31 * S, &view, true);
    /* 0.1 s, 10.1 s, 15 s, 25 s, and the last. */
    assert_int_equal(lines_in(ends[0]), 5);
    progress_destroy(progress);
    close(ends[0]);
    close(ends[1]);
}

static void a_bar_is_drawn_in_place_and_cleared(void **state)
{
    (void)state;
    int ends[2];
    char data[4096] = {0};
    assert_int_equal(pipe(ends), 0);
    struct coordinator_view view = half_way();
    struct progress *progress = progress_create(PROGRESS_BAR, ends[1]);
    for (uint64_t tick = 1; tick <= 10; tick++) /* 0.1 s: drawn once */
        progress_update(progress, S + tick * S / 100, &view, false);
    progress_clear(progress);
    assert_true(read(ends[0], data, sizeof data - 1) > 0);
    assert_int_equal(data[0], '\r');
    assert_null(strchr(data, '\n'));
    assert_null(strstr(strstr(data, "cora") + 1, "cora"));
    assert_string_equal(data + strlen(data) - 4, "\r\033[K");
    progress_destroy(progress);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_says_rate_time_left_loss_and_best),
        cmocka_unit_test(the_rate_forgets_what_is_old_and_never_falls_below_zero),
        cmocka_unit_test(waiting_says_for_whom),
        cmocka_unit_test(plain_lines_come_every_ten_seconds_and_after_evaluations),
        cmocka_unit_test(a_bar_is_drawn_in_place_and_cleared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
