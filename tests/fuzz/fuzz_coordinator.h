/* A coordinator under fuzzing, and the process around it. */
#ifndef ANTHILL_TESTS_FUZZ_FUZZ_COORDINATOR_H
#define ANTHILL_TESTS_FUZZ_FUZZ_COORDINATOR_H

#include "ps/coordinator.h"
#include "tests/fuzz/fuzz.h"

#define FUZZ_NOW_NS UINT64_C(50000000000)

static inline struct coordinator_options fuzz_coordinator_options(void)
{
    return (struct coordinator_options){
        .name = "run",
        .task = "node-classification",
        .epochs = 3,
        .batch = 10,
        .evaluate_every = 1,
        .patience = 2,
        .monitor = "accuracy",
        .expect_metric = "accuracy",
        .server_count = 2,
        .shards_per_server = 1,
        .slot_count = 16,
        .worker_count = 2,
        .lease_ns = UINT64_C(5000000000),
        .timeout_ns = UINT64_C(60000000000),
        .checkpoint_every_ns = UINT64_C(20000000000),
        .checkpoint_keep = 2,
        .wall_offset_ns = UINT64_C(1000000000000000),
    };
}

/* What the process does after a turn: checkpoints are published, messages gone. */
static inline void fuzz_coordinator_turn(struct coordinator *coordinator, uint64_t now_ns,
                                         struct outbox *outbox, struct effects *effects)
{
    for (;;) {
        uint64_t step = 0;
        for (unsigned i = 0; i < effects->count; i++)
            if (effects->items[i].kind == EFFECT_PUBLISH) step = effects->items[i].step;
        effects_clear(effects);
        if (step == 0) break;
        const struct error none = {.status = STATUS_OK};
        coordinator_published(coordinator, now_ns, step, &none, outbox, effects);
    }
    outbox_clear(outbox);
}

#endif
