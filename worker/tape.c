#include "worker/tape.h"

#include <stdlib.h>

#include "common/check.h"

/* Nodes are a list in the arena: taking one never allocates while computing. */
struct node {
    struct node *before;
    void (*backward)(void *context);
    void *context;
};

struct tape {
    struct arena *arena;
    struct node *last;
    bool gradients;
};

struct tape *tape_create(void)
{
    struct tape *tape = calloc(1, sizeof *tape);
    CHECK(tape != NULL);
    return tape;
}

void tape_destroy(struct tape *tape)
{
    free(tape);
}

void tape_begin(struct tape *tape, struct arena *arena, bool gradients)
{
    *tape = (struct tape){.arena = arena, .gradients = gradients};
}

struct arena *tape_arena(struct tape *tape)
{
    return tape->arena;
}

bool tape_records(const struct tape *tape)
{
    return tape->gradients;
}

struct tensor *tape_leaf(struct tape *tape, float *data, float *grad, uint32_t rows, uint32_t cols)
{
    struct tensor *leaf = ARENA_ARRAY(tape->arena, struct tensor, 1);
    *leaf = (struct tensor){
        .data = data, .grad = tape->gradients ? grad : NULL, .rows = rows, .cols = cols};
    return leaf;
}

struct tensor *tape_output(struct tape *tape, uint32_t rows, uint32_t cols, bool wants_grad)
{
    size_t count = (size_t)rows * cols;
    struct tensor *output = ARENA_ARRAY(tape->arena, struct tensor, 1);
    *output = (struct tensor){
        .data = ARENA_ARRAY(tape->arena, float, count), .rows = rows, .cols = cols, .owned = true};
    if (wants_grad && tape->gradients)
        output->grad = arena_zalloc(tape->arena, count * sizeof(float));
    return output;
}

void tape_record(struct tape *tape, void (*backward)(void *context), void *context)
{
    CHECK(tape->gradients);
    struct node *node = ARENA_ARRAY(tape->arena, struct node, 1);
    *node = (struct node){.before = tape->last, .backward = backward, .context = context};
    tape->last = node;
}

void tape_backward(struct tape *tape, struct tensor *loss)
{
    CHECK(tape->gradients && loss->rows == 1 && loss->cols == 1);
    if (loss->grad == NULL) return; /* depends on nothing that wants a gradient */
    loss->grad[0] = 1.0f;
    for (struct node *node = tape->last; node != NULL; node = node->before)
        node->backward(node->context);
    tape->last = NULL;
}
