/* What every command of anthill-worker opens first: configuration, graph, and the model made fit
 * for it; and where a finished run keeps its checkpoints. */
#ifndef ANTHILL_WORKER_JOB_H
#define ANTHILL_WORKER_JOB_H

#include "common/config.h"
#include "common/error.h"
#include "common/file.h"
#include "common/program.h"
#include "graph/graph_store.h"
#include "worker/evaluator.h"
#include "worker/model.h"

struct job {
    struct config *config;
    struct graph *graph;
    struct model *model;
};

/* Loads the configuration, opens graph.path and creates the model.
 *   errors   those of config_load, graph_open, model_create
 *   owner    job_close, also after an error */
enum status job_open(struct job *job, const char *config_path, const struct string_list *overrides,
                     struct error *error) MUST_CHECK;
void job_close(struct job *job);

/* The endpoint that the coordinator wrote into the run's folder.
 *   errors   STATUS_NOT_FOUND with the file that was looked for
 *   owner    returns owned; free() */
enum status job_coordinator(const struct job *job, char **endpoint, struct error *error) MUST_CHECK;

/* The folder of a checkpoint in a run's folder: that of `step`, or (0) the one that result.json
 * names, or the latest.
 *   errors   STATUS_NOT_FOUND when the run has no such checkpoint */
enum status job_checkpoint(const char *run_dir, uint64_t step, char path[FILE_PATH_BYTES],
                           struct error *error) MUST_CHECK;

/* Opens a checkpoint for evaluation: input->client reads it inside this process, and its tables are
 * those of the model.
 *   errors   STATUS_CONFIG when the checkpoint is of another model
 *   owner    client_close(input->client) */
enum status job_open_checkpoint(const struct job *job, const char *step_dir,
                                struct evaluator_input *input, struct error *error) MUST_CHECK;

#endif
