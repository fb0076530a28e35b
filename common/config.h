/* A run's configuration: defaults < file < environment ANTHILL_* < --set key=value.
 * The defaults and the meaning of each key stand in conf/defaults.yaml, which is compiled in. */
#ifndef ANTHILL_COMMON_CONFIG_H
#define ANTHILL_COMMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/schedule.h"

enum config_layer_type { LAYER_LINEAR, LAYER_DROPOUT, LAYER_RELU, LAYER_SAGE, LAYER_GCN };
enum config_aggregate { AGGREGATE_MEAN, AGGREGATE_SUM, AGGREGATE_MAX };
enum config_relations { RELATIONS_ALL, RELATIONS_DIRECTION, RELATIONS_TYPE };
enum config_optimizer {
    CONFIG_SGD,
    CONFIG_MOMENTUM,
    CONFIG_ADAGRAD,
    CONFIG_ROWWISE_ADAGRAD,
    CONFIG_ADAM,
    CONFIG_ADAMW,
    CONFIG_FTRL,
};
enum config_encoding { CONFIG_F32, CONFIG_BF16, CONFIG_INT8 };
enum config_evict { CONFIG_EVICT_NONE, CONFIG_EVICT_AGE, CONFIG_EVICT_SCORE };
enum config_consistency { CONFIG_ASYNC, CONFIG_SSP, CONFIG_BSP };
enum config_transport { CONFIG_IPC, CONFIG_TCP };
enum config_task { TASK_NODE_CLASSIFICATION };

struct config_layer {
    enum config_layer_type type;
    uint32_t units;                  /* linear, sage, gcn; 0: the number of classes */
    float rate;                      /* dropout */
    enum config_aggregate aggregate; /* sage */
    enum config_relations relations; /* sage: which edges have weights of their own */
    bool no_bias;                    /* linear, sage, gcn */
    float weight_decay;              /* L2 on this layer's matrices */
};

struct config {
    struct {
        char *name;
        char *dir;
        uint64_t seed;
        char **baseline; /* "key=value": the run to compare with */
        unsigned baseline_count;
        char *baseline_name;
    } run;
    struct {
        char *path;
        char *import;   /* arguments of `anthill-graph import`, without --out */
        bool edges;     /* false: the model sees no neighbours */
        uint32_t split; /* which of several splits */
    } graph;
    struct {
        int32_t *fanouts; /* hop 1 (next to the seeds) first; -1: all neighbours */
        unsigned fanouts_count;
    } sampler;
    struct {
        uint32_t embedding; /* floats of a trainable embedding per node beside the features */
        struct config_layer *layers;
        unsigned layers_count;
    } model;
    struct {
        enum config_task type;
    } task;
    struct {
        uint32_t epochs, batch, lease; /* seeds per lease; 0: chosen from batch and workers */
        uint32_t evaluate_every;       /* epochs */
        uint32_t patience;             /* evaluations without a better one; 0: no early stop */
        char *monitor;                 /* metric of the valid split; "loss": lower is better */
    } train;
    struct {
        enum config_optimizer type;
        float rate, beta1, beta2, epsilon, momentum;
        float l1, l2, ftrl_beta;
        float clip_value, clip_norm; /* 0: not */
        enum schedule_kind schedule;
        float warmup;         /* share of the run with a rising rate */
        float rate_final;     /* share of `rate` at the end of a linear or cosine schedule */
        float embedding_rate; /* rate of the node embeddings */
    } optimizer;
    struct {
        enum config_optimizer optimizer;
        enum config_encoding storage; /* f32 or bf16 */
        enum config_encoding wire;
        uint32_t admit_after; /* a row appears at this sighting of its node; 0, 1: at the first */
        enum config_evict evict;
        uint32_t evict_seconds; /* rows unused for so long are removed; 0: never */
        uint64_t bytes_max;     /* per shard; 0: no limit */
        uint64_t cache_rows;    /* that a worker keeps; 0: none */
        uint32_t cache_behind;  /* pushes that a kept row may be behind */
        bool look_ahead;        /* rows of the next batch are pulled while one is computed */
    } embeddings;
    struct {
        enum config_consistency mode;
        uint32_t staleness;
        bool compensate;        /* stale gradients take smaller steps */
        uint32_t clock_batches; /* bsp: batches that make one step; 0: one of each worker */
    } consistency;
    struct {
        uint32_t count, shards, slots;
        uint32_t replicas; /* of each shard: 1, or 2 on different servers */
        uint64_t rows_max;
    } servers;
    struct {
        uint32_t count;
        float lease_seconds; /* a worker silent for so long loses its leases */
    } workers;
    struct {
        float every_seconds; /* 0: only at the end and when evaluation improves */
        uint32_t keep;
    } checkpoint;
    struct {
        enum config_transport transport;
        char *host;            /* tcp: where this machine's processes listen */
        float timeout_seconds; /* a peer silent for so long ends the process with 69 */
        float dead_seconds;    /* a backup takes the place of a server silent for so long */
    } network;
    struct {
        char *metric; /* of the test split */
        float value;  /* floor; 0: none */
    } expect;
};

/* Loads `path` (NULL: defaults only) and applies the environment and `overrides` ("a.b=value",
 * later ones win; "model.layers.0.units=32" and "sampler.fanouts=[10,10]" work too).
 * ANTHILL_TRAIN_EPOCHS=3 sets train.epochs. Ranges are checked, those of the baseline run too.
 *   errors   STATUS_NOT_FOUND, STATUS_IO; STATUS_CONFIG with "file:line: key: what was expected"
 *            for unknown keys, wrong types and values out of range; a variable or an override
 *            stands in place of file and line: "--set train.batch=0: train.batch: 0 is less than 1"
 *   owner    returns owned; config_destroy */
enum status config_load(struct config **config, const char *path, char *const *overrides,
                        size_t override_count, struct error *error) MUST_CHECK;
void config_destroy(struct config *config);

/* Writes all keys with their values as YAML, whole or not at all. */
enum status config_save(const struct config *config, const char *path,
                        struct error *error) MUST_CHECK;

#endif
