#include "worker/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/program.h"
#include "ps/client/client.h"
#include "worker/embedding_pulls.h"
#include "worker/evaluator.h"
#include "worker/feed.h"
#include "worker/lease_keeper.h"
#include "worker/ops/op_softmax_cross_entropy.h"
#include "worker/tables.h"

/* Memory of the client, which shards on this host reach directly. */
struct row_buffer {
    float *floats;
    size_t capacity;
    uint64_t ticket; /* of the last request in it */
};

struct trainer {
    const struct trainer_options *options;
    struct client *client;
    struct lease_keeper *keeper;
    struct feed *feed;
    struct tape *tape;
    uint32_t weights_table, embeddings_table, embedding_dim;
    Anthill__Encoding wire; /* of embeddings while training; evaluations read them as they are */
    uint64_t floats;
    float *values, *grads;        /* [floats] all weights and their gradients */
    struct embedding_pulls *rows; /* NULL: the model has no embeddings */
    bool takes_turns;             /* workers do, in this run */
    bool entered;                 /* then: it is in the clock */
    bool looks_ahead;
    struct feed_item *ahead; /* the item after the present one, whose rows are being pulled */
    struct row_buffer row_grads[2]; /* in turn, since a push borrows them */
    unsigned steps;
    struct metric *pull_seconds, *compute_seconds, *push_seconds, *wait_seconds;
    struct metric *seeds, *batches, *loss;
};

/* Adds the time since *mark_ns to a stage and moves the mark. */
static void stage_end(struct metric *stage, uint64_t *mark_ns)
{
    uint64_t now_ns = clock_now_ns();
    metric_add(stage, (double)(now_ns - *mark_ns) * 1e-9);
    *mark_ns = now_ns;
}

static void register_metrics(struct trainer *trainer)
{
    const char *name = "anthill_worker_stage_seconds_total", *help = "Time in each pipeline stage";
    trainer->pull_seconds = metrics_counter(name, "stage=\"pull\"", help);
    trainer->compute_seconds = metrics_counter(name, "stage=\"compute\"", help);
    trainer->push_seconds = metrics_counter(name, "stage=\"push\"", help);
    trainer->wait_seconds = metrics_counter(name, "stage=\"wait\"", help);
    trainer->seeds = metrics_counter("anthill_worker_seeds_total", NULL, "Seeds trained on");
    trainer->batches = metrics_counter("anthill_worker_batches_total", NULL, "Steps done");
    trainer->loss = metrics_gauge("anthill_worker_loss", NULL, "Mean loss of the latest batch");
}

/* Waits until the buffer is free, and makes it large enough. */
static enum status row_buffer_take(struct trainer *trainer, struct row_buffer *buffer,
                                   size_t floats, struct error *error)
{
    enum status status = client_wait(trainer->client, buffer->ticket, error);
    if (status != STATUS_OK || buffer->capacity >= floats) return status;
    client_memory_free(trainer->client, buffer->floats);
    buffer->capacity = floats + floats / 2;
    buffer->floats = client_memory_alloc(trainer->client, buffer->capacity * sizeof(float));
    if (buffer->floats != NULL) return STATUS_OK;
    buffer->capacity = 0;
    return error_set(error, STATUS_NOMEM, "no memory for %zu floats of embeddings", floats);
}

static void row_buffer_deinit(struct trainer *trainer, struct row_buffer *buffer)
{
    if (buffer->floats != NULL) client_memory_free(trainer->client, buffer->floats);
}

/* The feed has nothing yet. While it waits for a lease this worker holds nobody up; one that takes
 * turns is in the clock for as long as the coordinator counts on it. */
static enum status wait_for_item(struct trainer *trainer, struct error *error)
{
    if (!trainer->takes_turns) {
        return feed_waits_for_lease(trainer->feed) ? client_idle(trainer->client, error)
                                                   : client_poll(trainer->client, error);
    }
    bool wanted = feed_takes_turn(trainer->feed);
    if (wanted == trainer->entered) return client_poll(trainer->client, error);
    trainer->entered = wanted;
    enum status status =
        wanted ? client_enter(trainer->client, error) : client_idle(trainer->client, error);
    if (status == STATUS_OK) feed_entered(trainer->feed, wanted);
    return status;
}

/* The next item. */
static enum status next_item(struct trainer *trainer, struct feed_item **item, struct error *error)
{
    uint64_t mark_ns = clock_now_ns();
    enum status status = STATUS_OK;
    *item = NULL;
    while (status == STATUS_OK && !feed_next(trainer->feed, 2 * NS_PER_MS, item)) {
        status = wait_for_item(trainer, error);
    }
    stage_end(trainer->wait_seconds, &mark_ns);
    return status;
}

static enum status start_rows(struct trainer *trainer, const struct feed_item *item,
                              struct error *error)
{
    if (trainer->rows == NULL) return STATUS_OK;
    return embedding_pulls_start(trainer->rows, item->batch.input, item->batch.input_count, error);
}

/* Pulls what the item needs; the rows may be under way already. */
static enum status pull(struct trainer *trainer, const struct feed_item *item, float **embedding,
                        struct error *error)
{
    uint64_t mark_ns = clock_now_ns(), weights_ticket = 0;
    *embedding = NULL;
    enum status status = client_pull_dense(trainer->client, trainer->weights_table, trainer->values,
                                           &weights_ticket, error);
    if (status == STATUS_OK && item != trainer->ahead) status = start_rows(trainer, item, error);
    trainer->ahead = NULL;
    if (status == STATUS_OK && trainer->rows != NULL)
        status = embedding_pulls_finish(trainer->rows, embedding, error);
    if (status == STATUS_OK) status = client_wait(trainer->client, weights_ticket, error);
    stage_end(trainer->pull_seconds, &mark_ns);
    return status;
}

/* Starts to pull the rows of the item after this one. Never beyond a lease: the next one may have
 * to wait for this one's end. Waiting for the item here is what makes it the same in each run, and
 * costs no throughput: the feed goes on meanwhile. */
static enum status look_ahead(struct trainer *trainer, const struct feed_item *item,
                              struct error *error)
{
    if (!trainer->looks_ahead || item->last) return STATUS_OK;
    enum status status = next_item(trainer, &trainer->ahead, error);
    if (status != STATUS_OK || trainer->ahead == NULL) return status;
    uint64_t mark_ns = clock_now_ns();
    status = start_rows(trainer, trainer->ahead, error);
    stage_end(trainer->pull_seconds, &mark_ns);
    return status;
}

static enum status push(struct trainer *trainer, const struct feed_item *item,
                        struct row_buffer *embedding_grads, struct error *error)
{
    uint64_t ticket = 0;
    enum status status = client_push_dense(trainer->client, trainer->weights_table, trainer->grads,
                                           item->rate_scale, &ticket, error);
    if (status == STATUS_OK && embedding_grads != NULL) {
        status = client_push(trainer->client, trainer->embeddings_table, item->batch.input,
                             item->batch.input_count, embedding_grads->floats, item->rate_scale,
                             &embedding_grads->ticket, error);
    }
    const struct held_lease *lease = item->lease;
    if (status == STATUS_OK && !lease->takes_turn) {
        status = client_advance(trainer->client, error);
    } else if (status == STATUS_OK && item->last) {
        status = client_advance_to(trainer->client, lease->clock_after, error);
    }
    return status == STATUS_OK ? client_poll(trainer->client, error) : status;
}

/* Forward and backward over one batch; returns its mean loss. */
static float compute(struct trainer *trainer, struct feed_item *item, float *embedding,
                     float *embedding_grads)
{
    struct tape *tape = trainer->tape;
    tape_begin(tape, item->arena, true);
    memset(trainer->grads, 0, trainer->floats * sizeof *trainer->grads);
    struct model_weights weights = {.values = trainer->values, .grads = trainer->grads};
    struct model_input input = {0};
    if (item->features.count > 0) input.features = &item->features;
    if (embedding != NULL) {
        input.embedding = tape_leaf(tape, embedding, embedding_grads, item->batch.input_count,
                                    trainer->embedding_dim);
    }
    struct tensor *logits = model_forward(trainer->options->model, tape, &weights, &item->batch,
                                          &input, true, item->key);
    struct tensor *loss = op_softmax_cross_entropy(tape, logits, item->labels);
    tape_backward(tape, loss);
    return loss->data[0];
}

static enum status step(struct trainer *trainer, struct feed_item *item, struct error *error)
{
    struct row_buffer *row_grads = NULL;
    float *embedding, *embedding_grads = NULL;
    size_t floats = (size_t)item->batch.input_count * trainer->embedding_dim;
    enum status status = STATUS_OK;
    if (item->lease->takes_turn)
        status = client_advance_to(trainer->client, item->lease->clock, error);
    if (status == STATUS_OK) status = pull(trainer, item, &embedding, error);
    if (status == STATUS_OK) status = look_ahead(trainer, item, error);
    uint64_t mark_ns = clock_now_ns();
    if (status == STATUS_OK && embedding != NULL) {
        row_grads = &trainer->row_grads[trainer->steps++ % 2];
        status = row_buffer_take(trainer, row_grads, floats, error);
    }
    if (status != STATUS_OK) return status;
    stage_end(trainer->push_seconds, &mark_ns); /* the push before the last was waited for */
    if (row_grads != NULL) embedding_grads = memset(row_grads->floats, 0, floats * sizeof(float));
    float loss = compute(trainer, item, embedding, embedding_grads);
    stage_end(trainer->compute_seconds, &mark_ns);
    status = push(trainer, item, row_grads, error);
    /* A lease is done when its pushes are acknowledged. */
    if (status == STATUS_OK && item->last) status = client_flush(trainer->client, error);
    stage_end(trainer->push_seconds, &mark_ns);
    uint32_t seeds = item->batch.seed_count;
    held_lease_metric(item->lease, "loss", (double)loss, seeds);
    atomic_fetch_add(&item->lease->seeds_done, seeds);
    metric_add(trainer->seeds, seeds);
    metric_add(trainer->batches, 1);
    metric_set(trainer->loss, (double)loss);
    return status;
}

static void report_score(struct held_lease *lease, const char *split, const struct score *score)
{
    const struct {
        const char *name;
        double value;
    } metrics[] = {
        {"accuracy", score->accuracy}, {"macro_f1", score->macro_f1}, {"loss", score->loss}};
    if (score->count == 0) return;
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s/%s", split, metrics[i].name);
        held_lease_metric(lease, name, metrics[i].value, (double)score->count);
    }
}

static enum status set_encoding(struct trainer *trainer, Anthill__Encoding encoding,
                                struct error *error)
{
    if (trainer->embedding_dim == 0) return STATUS_OK;
    return client_set_encoding(trainer->client, trainer->embeddings_table, encoding, error);
}

static enum status evaluate(struct trainer *trainer, struct held_lease *lease, struct error *error)
{
    const struct trainer_options *options = trainer->options;
    struct evaluator_input input = {
        .config = options->config,
        .graph = options->graph,
        .model = options->model,
        .client = trainer->client,
        .weights_table = trainer->weights_table,
        .embeddings_table = trainer->embeddings_table,
    };
    enum status status = trainer->takes_turns ? STATUS_OK : client_idle(trainer->client, error);
    if (status != STATUS_OK) return status;
    struct evaluation evaluation;
    status = set_encoding(trainer, ANTHILL__ENCODING__ENCODING_F32, error);
    if (status == STATUS_OK) status = evaluator_run(&input, false, &evaluation, error);
    if (status != STATUS_OK) return status;
    struct score valid, test;
    status = evaluator_score(&input, &evaluation, GRAPH_SPLIT_VALID, &valid, error);
    if (status == STATUS_OK)
        status = evaluator_score(&input, &evaluation, GRAPH_SPLIT_TEST, &test, error);
    if (status == STATUS_OK) {
        report_score(lease, "valid", &valid);
        report_score(lease, "test", &test);
    }
    evaluation_deinit(&evaluation);
    return status == STATUS_OK ? set_encoding(trainer, trainer->wire, error) : status;
}

/* What is left of a lost lease is not done; rows that are under way for it are waited for, since
 * they go with the item. */
static enum status skip(struct trainer *trainer, const struct feed_item *item, struct error *error)
{
    log_event(LOG_DEBUG, "batch_of_lost_lease", "lease=%llu", (unsigned long long)item->lease->id);
    if (item != trainer->ahead) return STATUS_OK;
    trainer->ahead = NULL;
    float *rows;
    return embedding_pulls_finish(trainer->rows, &rows, error);
}

static enum status loop(struct trainer *trainer, struct error *error)
{
    for (;;) {
        struct feed_item *item = trainer->ahead;
        enum status status = item == NULL ? next_item(trainer, &item, error) : STATUS_OK;
        if (status != STATUS_OK) return status;
        if (item == NULL) break;
        struct held_lease *lease = item->lease;
        if (atomic_load(&lease->lost)) {
            status = skip(trainer, item, error);
        } else {
            status =
                lease->evaluates ? evaluate(trainer, lease, error) : step(trainer, item, error);
        }
        if (status != STATUS_OK) return status;
        bool last = item->last;
        feed_release(trainer->feed, item);
        if (last) lease_keeper_done(trainer->keeper, lease);
        if (program_stop_requested()) return error_set(error, STATUS_STOPPED, "stop requested");
    }
    enum status status = lease_keeper_status(trainer->keeper, error);
    return status == STATUS_OK ? feed_status(trainer->feed, error) : status;
}

static enum status create_embeddings(struct trainer *trainer, const struct tables *tables,
                                     struct error *error)
{
    trainer->wire = tables->wire;
    trainer->looks_ahead = tables->look_ahead;
    enum status status =
        client_table(trainer->client, &tables->embeddings, &trainer->embeddings_table, error);
    if (status == STATUS_OK) status = set_encoding(trainer, trainer->wire, error);
    if (status != STATUS_OK) return status;
    uint64_t node_count = graph_info(trainer->options->graph)->node_count;
    struct embedding_pulls_options options = {
        .client = trainer->client,
        .table = trainer->embeddings_table,
        .dim = trainer->embedding_dim,
        .wire = trainer->wire,
        .cache_rows = tables->cache_rows < node_count ? tables->cache_rows : node_count,
        .cache_behind = tables->cache_behind,
    };
    return embedding_pulls_create(&trainer->rows, &options, error);
}

static enum status create_tables(struct trainer *trainer, struct error *error)
{
    struct tables tables;
    enum status status =
        tables_init(&tables, trainer->options->config, trainer->options->model, error);
    if (status != STATUS_OK) return status;
    status = client_table(trainer->client, &tables.weights, &trainer->weights_table, error);
    if (status == STATUS_OK && tables.embeddings.dim > 0)
        status = create_embeddings(trainer, &tables, error);
    tables_deinit(&tables);
    return status;
}

static enum status join(struct trainer *trainer, struct error *error)
{
    const struct trainer_options *options = trainer->options;
    uint64_t train_count = 0;
    graph_split_ids(options->graph, GRAPH_SPLIT_TRAIN, &train_count);
    uint64_t timeout_ns =
        (uint64_t)((double)options->config->network.timeout_seconds * (double)NS_PER_S);
    struct client_options client_options = {
        .coordinator = options->coordinator,
        .name = options->name,
        .timeout_ns = timeout_ns,
        .trains = true,
        .seed_count = train_count,
        .graph_checksum = graph_info(options->graph)->checksum,
    };
    enum status status = client_open(&trainer->client, &client_options, error);
    if (status != STATUS_OK) return status;
    status = lease_keeper_start(&trainer->keeper, options->coordinator,
                                client_session(trainer->client), timeout_ns, error);
    if (status == STATUS_OK) status = create_tables(trainer, error);
    if (status != STATUS_OK) return status;
    log_event(LOG_INFO, "joined", "worker=%s session=%llu seeds=%llu weights=%llu", options->name,
              (unsigned long long)client_session(trainer->client), (unsigned long long)train_count,
              (unsigned long long)trainer->floats);
    struct feed_options feed_options = {
        .config = options->config,
        .graph = options->graph,
        .keeper = trainer->keeper,
        .coordinator = options->coordinator,
        .session = client_session(trainer->client),
        .hop_count = model_hop_count(options->model),
    };
    return feed_start(&trainer->feed, &feed_options, error);
}

/* Whether another worker would fail for the same reason. */
static bool is_fatal(enum status status)
{
    return status == STATUS_CONFIG || status == STATUS_CORRUPT || status == STATUS_INVALID ||
           status == STATUS_NOMEM;
}

enum status trainer_run(const struct trainer_options *options, struct error *error)
{
    struct trainer trainer = {
        .options = options,
        .takes_turns = options->config->consistency.clock_batches > 0,
        .embedding_dim = model_embedding_dim(options->model),
        .floats = model_floats(options->model),
    };
    register_metrics(&trainer);
    trainer.values = calloc(trainer.floats, sizeof(float));
    trainer.grads = calloc(trainer.floats, sizeof(float));
    trainer.tape = tape_create();
    enum status status = STATUS_OK;
    if (trainer.values == NULL || trainer.grads == NULL) {
        status = error_set(error, STATUS_NOMEM, "%llu weights", (unsigned long long)trainer.floats);
    }
    if (status == STATUS_OK) status = join(&trainer, error);
    if (status == STATUS_OK) status = loop(&trainer, error);
    embedding_pulls_destroy(trainer.rows);
    feed_stop(trainer.feed);
    struct lease_keeper_leave leave = {
        .status = status,
        .text = status != STATUS_OK ? error->text : NULL,
        .fatal = is_fatal(status),
    };
    lease_keeper_stop(trainer.keeper, &leave);
    for (unsigned i = 0; i < 2; i++)
        row_buffer_deinit(&trainer, &trainer.row_grads[i]);
    client_close(trainer.client);
    tape_destroy(trainer.tape);
    free(trainer.values);
    free(trainer.grads);
    return status;
}

enum status trainer_check(const struct trainer_options *options, struct error *error)
{
    const struct graph_info *info = graph_info(options->graph);
    const struct config *config = options->config;
    uint64_t count = 0;
    const uint64_t *nodes = graph_split_ids(options->graph, GRAPH_SPLIT_TRAIN, &count);
    if (!info->has_labels) {
        return error_set(error, STATUS_CONFIG,
                         "graph %s has no labels (label.npy), which task.type "
                         "node-classification learns from",
                         config->graph.path);
    }
    if (count == 0) {
        return error_set(error, STATUS_CONFIG,
                         "graph %s has no node in the train split: nothing to learn from",
                         config->graph.path);
    }
    if (config->sampler.fanouts_count != model_hop_count(options->model)) {
        return error_set(error, STATUS_CONFIG,
                         "sampler.fanouts has %u entries, but model.layers has %u convolutions: "
                         "expected one fan-out for each",
                         config->sampler.fanouts_count, model_hop_count(options->model));
    }
    for (uint64_t i = 0; i < count; i++) {
        int32_t label = -1;
        graph_labels(options->graph, &nodes[i], 1, &label);
        if (label >= 0 && (uint32_t)label < info->class_count) continue;
        return error_set(error, STATUS_CORRUPT,
                         "graph %s: node %llu is in the train split, but its label is %d: expected "
                         "0 to %u",
                         config->graph.path,
                         (unsigned long long)graph_external_id(options->graph, nodes[i]),
                         (int)label, info->class_count - 1);
    }
    return STATUS_OK;
}
