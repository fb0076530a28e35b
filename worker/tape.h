/* A reverse-mode tape: each operation appends a node with its output and its backward step; one
 * call runs them from the last to the first. Memory comes from an arena that the caller resets
 * between batches. Pure: no I/O, no threads, randomness by key.
 *
 *   tape_begin(tape, arena, true)
 *   h = op_linear(tape, x, w, b, NULL)      each op_* is one file in ops/
 *   loss = op_softmax_cross_entropy(tape, h, labels)
 *   tape_backward(tape, loss)               h->grad, w->grad ... hold d loss / d themselves */
#ifndef ANTHILL_WORKER_TAPE_H
#define ANTHILL_WORKER_TAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/arena.h"

/* A matrix [rows, cols], row-major. `grad` is NULL when no gradient is wanted. Lives in the arena.
 */
struct tensor {
    float *data;
    float *grad;
    uint32_t rows, cols;
    bool owned; /* memory of the tape's own, in which an element-wise operation may work in place */
};

struct tape;

struct tape *tape_create(void);
void tape_destroy(struct tape *tape);

/* Forgets all nodes; new ones come from `arena`. With `gradients` false nothing is recorded and no
 * grad memory is taken: inference. */
void tape_begin(struct tape *tape, struct arena *arena, bool gradients);
struct arena *tape_arena(struct tape *tape);
bool tape_records(const struct tape *tape);

/* A leaf over the caller's memory. grad may be NULL; otherwise gradients are ADDED to it, so the
 * caller zeroes it first. A tape that does not record ignores grad. */
struct tensor *tape_leaf(struct tape *tape, float *data, float *grad, uint32_t rows, uint32_t cols);

/* For operations: a new output; its grad is zeroed memory when `wants_grad` and the tape records.
 */
struct tensor *tape_output(struct tape *tape, uint32_t rows, uint32_t cols, bool wants_grad);

/* For operations: `backward(context)` runs during tape_backward, after those of later nodes. */
void tape_record(struct tape *tape, void (*backward)(void *context), void *context);

/* loss is [1, 1]; its gradient is 1. */
void tape_backward(struct tape *tape, struct tensor *loss);

#endif
