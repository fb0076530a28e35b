#include "common/queue.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/check.h"
#include "common/clock.h"

/* A ring under one lock. Items are whole batches: a few hundred a second, so that the lock costs
 * nothing that shows. */
struct queue {
    pthread_mutex_t lock;
    pthread_cond_t not_empty, not_full;
    void **items;
    size_t capacity, first, count;
    bool closed;
};

struct queue *queue_create(size_t capacity)
{
    CHECK(capacity > 0);
    struct queue *queue = calloc(1, sizeof *queue);
    CHECK(queue != NULL);
    queue->items = calloc(capacity, sizeof *queue->items);
    CHECK(queue->items != NULL);
    queue->capacity = capacity;
    pthread_condattr_t attributes;
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_mutex_init(&queue->lock, NULL) == 0);
    CHECK(pthread_cond_init(&queue->not_empty, &attributes) == 0);
    CHECK(pthread_cond_init(&queue->not_full, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    return queue;
}

void queue_destroy(struct queue *queue)
{
    if (queue == NULL) return;
    pthread_cond_destroy(&queue->not_full);
    pthread_cond_destroy(&queue->not_empty);
    pthread_mutex_destroy(&queue->lock);
    free(queue->items);
    free(queue);
}

/* The moment on the monotonic clock; QUEUE_FOREVER when it lies past the clock's end. */
static uint64_t deadline_of(uint64_t timeout_ns)
{
    uint64_t deadline;
    if (__builtin_add_overflow(clock_now_ns(), timeout_ns, &deadline)) return QUEUE_FOREVER;
    return deadline;
}

/* False when the deadline has passed. */
static bool wait_on(struct queue *queue, pthread_cond_t *condition, uint64_t deadline_ns)
{
    if (deadline_ns == QUEUE_FOREVER) {
        CHECK(pthread_cond_wait(condition, &queue->lock) == 0);
        return true;
    }
    struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / NS_PER_S),
                                .tv_nsec = (long)(deadline_ns % NS_PER_S)};
    return pthread_cond_timedwait(condition, &queue->lock, &deadline) == 0;
}

bool queue_push(struct queue *queue, void *item, uint64_t timeout_ns)
{
    CHECK(item != NULL);
    uint64_t deadline_ns = deadline_of(timeout_ns);
    pthread_mutex_lock(&queue->lock);
    bool waiting = timeout_ns > 0;
    while (queue->count == queue->capacity && !queue->closed && waiting)
        waiting = wait_on(queue, &queue->not_full, deadline_ns);
    bool put = queue->count < queue->capacity && !queue->closed;
    if (put) {
        queue->items[(queue->first + queue->count++) % queue->capacity] = item;
        pthread_cond_signal(&queue->not_empty);
    }
    pthread_mutex_unlock(&queue->lock);
    return put;
}

void *queue_pop(struct queue *queue, uint64_t timeout_ns)
{
    uint64_t deadline_ns = deadline_of(timeout_ns);
    void *item = NULL;
    pthread_mutex_lock(&queue->lock);
    bool waiting = timeout_ns > 0;
    while (queue->count == 0 && !queue->closed && waiting)
        waiting = wait_on(queue, &queue->not_empty, deadline_ns);
    if (queue->count > 0) {
        item = queue->items[queue->first];
        queue->first = (queue->first + 1) % queue->capacity;
        queue->count--;
        pthread_cond_signal(&queue->not_full);
    }
    pthread_mutex_unlock(&queue->lock);
    return item;
}

void queue_close(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    pthread_cond_broadcast(&queue->not_empty);
    pthread_cond_broadcast(&queue->not_full);
    pthread_mutex_unlock(&queue->lock);
}

bool queue_closed(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    bool closed = queue->closed;
    pthread_mutex_unlock(&queue->lock);
    return closed;
}

size_t queue_count(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    size_t count = queue->count;
    pthread_mutex_unlock(&queue->lock);
    return count;
}
