/* A bounded queue of pointers between two threads (or more). */
#ifndef ANTHILL_COMMON_QUEUE_H
#define ANTHILL_COMMON_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue;

struct queue *queue_create(size_t capacity);
/* The items still in it are the caller's. */
void queue_destroy(struct queue *queue);

/* Waits while the queue is full; a timeout of 0 never waits. False: closed (the item is the
 * caller's) or timed out. */
bool queue_push(struct queue *queue, void *item, uint64_t timeout_ns);

/* Waits while the queue is empty, likewise. NULL: closed and empty, or timed out. */
void *queue_pop(struct queue *queue, uint64_t timeout_ns);

/* Wakes everyone; pushes fail from now on, pops take what is left. */
void queue_close(struct queue *queue);
bool queue_closed(struct queue *queue);

/* Items in the queue now. */
size_t queue_count(struct queue *queue);

#define QUEUE_FOREVER UINT64_MAX

#endif
