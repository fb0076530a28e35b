/* The bounded queue, on one thread and on several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "common/clock.h"
#include "common/queue.h"

static int items[1000];

static void items_come_out_in_the_order_they_went_in(void **state)
{
    (void)state;
    struct queue *queue = queue_create(3);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 3; i++)
            assert_true(queue_push(queue, &items[i], 0));
        assert_int_equal(queue_count(queue), 3);
        assert_false(queue_push(queue, &items[3], 0));
        for (int i = 0; i < 3; i++)
            assert_ptr_equal(queue_pop(queue, 0), &items[i]);
        assert_null(queue_pop(queue, 0));
    }
    queue_destroy(queue);
    queue_destroy(NULL);
}

static void a_wait_ends_at_its_deadline(void **state)
{
    (void)state;
    struct queue *queue = queue_create(1);
    uint64_t begin = clock_now_ns();
    assert_null(queue_pop(queue, 20 * NS_PER_MS));
    assert_true(clock_now_ns() - begin >= 20 * NS_PER_MS);
    assert_true(queue_push(queue, &items[0], 0));
    begin = clock_now_ns();
    assert_false(queue_push(queue, &items[1], 20 * NS_PER_MS));
    assert_true(clock_now_ns() - begin >= 20 * NS_PER_MS);
    queue_destroy(queue);
}

static void a_closed_queue_gives_what_is_left_and_takes_nothing(void **state)
{
    (void)state;
    struct queue *queue = queue_create(2);
    assert_true(queue_push(queue, &items[0], QUEUE_FOREVER));
    assert_false(queue_closed(queue));
    queue_close(queue);
    assert_true(queue_closed(queue));
    assert_false(queue_push(queue, &items[1], QUEUE_FOREVER));
    assert_ptr_equal(queue_pop(queue, QUEUE_FOREVER), &items[0]);
    assert_null(queue_pop(queue, QUEUE_FOREVER));
    queue_destroy(queue);
}

struct work {
    struct queue *queue;
    int first, taken;
    long sum;
};

static void *produce(void *context)
{
    struct work *work = context;
    for (int i = work->first; i < 1000; i += 2)
        work->taken += queue_push(work->queue, &items[i], QUEUE_FOREVER);
    return NULL;
}

static void *consume(void *context)
{
    struct work *work = context;
    for (int *item; (item = queue_pop(work->queue, QUEUE_FOREVER)) != NULL; work->taken++)
        work->sum += item - items;
    return NULL;
}

static void several_threads_lose_and_repeat_no_item(void **state)
{
    (void)state;
    struct queue *queue = queue_create(4);
    struct work producers[2], consumers[2];
    pthread_t threads[4];
    for (int i = 0; i < 2; i++) {
        producers[i] = (struct work){.queue = queue, .first = i};
        consumers[i] = (struct work){.queue = queue};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
        assert_int_equal(pthread_create(&threads[2 + i], NULL, consume, &consumers[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    queue_close(queue); /* wakes the consumers, who take the rest */
    for (int i = 2; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(producers[0].taken + producers[1].taken, 1000);
    assert_int_equal(consumers[0].taken + consumers[1].taken, 1000);
    assert_int_equal(consumers[0].sum + consumers[1].sum, 999 * 1000 / 2);
    queue_destroy(queue);
}

static void closing_wakes_a_producer_that_waits(void **state)
{
    (void)state;
    struct queue *queue = queue_create(1);
    struct work producer = {.queue = queue};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, produce, &producer), 0);
    assert_non_null(queue_pop(queue, QUEUE_FOREVER));
    queue_close(queue);
    pthread_join(thread, NULL);
    assert_in_range(producer.taken, 1, 2);
    queue_destroy(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_the_order_they_went_in),
        cmocka_unit_test(a_wait_ends_at_its_deadline),
        cmocka_unit_test(a_closed_queue_gives_what_is_left_and_takes_nothing),
        cmocka_unit_test(several_threads_lose_and_repeat_no_item),
        cmocka_unit_test(closing_wakes_a_producer_that_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
