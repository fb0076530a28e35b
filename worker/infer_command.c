#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/npy.h"
#include "common/program.h"
#include "worker/checkpoint_arguments.h"
#include "worker/commands.h"
#include "worker/evaluator.h"
#include "worker/job.h"

struct infer_arguments {
    struct checkpoint_arguments checkpoint;
    const char *out;
};

enum { KEY_OUT = 256 };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct infer_arguments *arguments = state->input;
    switch (key) {
    case KEY_OUT:
        arguments->out = argument;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &arguments->checkpoint;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"out", KEY_OUT, "DIR", 0,
     "where to write (default: RUN/export); an earlier export there is replaced", 0},
    {0},
};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .children = checkpoint_arguments_argp,
    .args_doc = "RUN",
    .doc = "Writes what a checkpoint of the run in folder RUN says of every node: node_ids.npy "
           "(u64, ids of the imported data; of named nodes the number of their name), "
           "predictions.npy (i32, class), probabilities.npy (f32, "
           "[nodes, classes]), embeddings.npy (f32, input of the last layer).",
};

/* Turns logits into probabilities in place and notes each row's most likely class. */
static void softmax_rows(float *logits, uint64_t rows, uint32_t cols, int32_t *predictions)
{
    for (uint64_t row = 0; row < rows; row++) {
        float *x = logits + row * cols;
        uint32_t best = 0;
        for (uint32_t c = 1; c < cols; c++)
            if (x[c] > x[best]) best = c;
        float top = x[best], sum = 0;
        for (uint32_t c = 0; c < cols; c++)
            sum += x[c] = expf(x[c] - top);
        for (uint32_t c = 0; c < cols; c++)
            x[c] /= sum;
        predictions[row] = (int32_t)best;
    }
}

static enum status write_array(const char *dir, const char *name, enum npy_type type, unsigned dims,
                               const uint64_t *shape, const void *data, struct error *error)
{
    char path[FILE_PATH_BYTES];
    enum status status = file_path(path, error, "%s/%s.npy", dir, name);
    return status == STATUS_OK ? npy_write(path, type, dims, shape, data, error) : status;
}

static enum status write_all(const struct evaluator_input *input, struct evaluation *evaluation,
                             const char *dir, struct error *error)
{
    const struct graph_info *info = graph_info(input->graph);
    uint64_t nodes = info->node_count;
    uint64_t *ids = malloc(nodes * sizeof *ids);
    int32_t *predictions = malloc(nodes * sizeof *predictions);
    enum status status = STATUS_OK;
    if (ids == NULL || predictions == NULL) {
        status =
            error_set(error, STATUS_NOMEM, "predictions of %llu nodes", (unsigned long long)nodes);
        goto out;
    }
    for (uint64_t i = 0; i < nodes; i++)
        ids[i] = graph_external_id(input->graph, i);
    softmax_rows(evaluation->logits, nodes, info->class_count, predictions);
    uint64_t classes[] = {nodes, info->class_count}, hidden[] = {nodes, evaluation->hidden_units};
    status = write_array(dir, "node_ids", NPY_U64, 1, &nodes, ids, error);
    if (status == STATUS_OK)
        status = write_array(dir, "predictions", NPY_I32, 1, &nodes, predictions, error);
    if (status == STATUS_OK)
        status = write_array(dir, "probabilities", NPY_F32, 2, classes, evaluation->logits, error);
    if (status == STATUS_OK && evaluation->hidden != NULL)
        status = write_array(dir, "embeddings", NPY_F32, 2, hidden, evaluation->hidden, error);
out:
    free(ids);
    free(predictions);
    return status;
}

/* Only an earlier export is replaced.
 *   errors   STATUS_DENIED when something else is there */
static enum status check_place(const char *dir, struct error *error)
{
    char known[FILE_PATH_BYTES];
    enum status status = file_path(known, error, "%s/predictions.npy", dir);
    if (status == STATUS_OK && file_exists(dir) && !file_exists(known)) {
        status =
            error_set(error, STATUS_DENIED,
                      "%s is there and is no export (no predictions.npy): not replaced; choose "
                      "another --out",
                      dir);
    }
    return status;
}

/* Everything appears under `dir` at once, or nothing. */
static enum status publish(const struct evaluator_input *input, struct evaluation *evaluation,
                           const char *dir, struct error *error)
{
    char partial[FILE_PATH_BYTES];
    enum status status = file_path(partial, error, "%s.partial", dir);
    if (status == STATUS_OK) status = file_dir_remove(partial, error);
    if (status == STATUS_OK) status = file_dir_create(partial, error);
    if (status != STATUS_OK) return status;
    status = write_all(input, evaluation, partial, error);
    if (status == STATUS_OK) status = file_dir_publish(partial, dir, error);
    if (status != STATUS_OK) (void)!file_dir_remove(partial, NULL);
    return status;
}

int infer_command(int argc, char **argv)
{
    struct infer_arguments arguments = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    struct job job = {0};
    struct evaluator_input input = {0};
    struct evaluation evaluation = {0};
    struct error error = {0};
    char step_dir[FILE_PATH_BYTES], dir[FILE_PATH_BYTES];
    enum status status =
        checkpoint_arguments_open(&arguments.checkpoint, &job, &input, step_dir, &error);
    if (status == STATUS_OK) {
        status = arguments.out != NULL
                     ? file_path(dir, &error, "%s", arguments.out)
                     : file_path(dir, &error, "%s/export", arguments.checkpoint.run);
    }
    if (status == STATUS_OK) status = check_place(dir, &error);
    if (status == STATUS_OK) status = evaluator_run(&input, true, &evaluation, &error);
    if (status == STATUS_OK) status = publish(&input, &evaluation, dir, &error);
    if (status == STATUS_OK) {
        printf("%s: %llu nodes from %s\n", dir,
               (unsigned long long)graph_info(job.graph)->node_count, step_dir);
    }
    int exit_code = status == STATUS_OK ? 0 : program_fail(status, &error);
    evaluation_deinit(&evaluation);
    client_close(input.client);
    job_close(&job);
    string_list_deinit(&arguments.checkpoint.overrides);
    return exit_code;
}
