/* The arguments that commands over a finished run share: its folder, which checkpoint, overrides.
 */
#ifndef ANTHILL_WORKER_CHECKPOINT_ARGUMENTS_H
#define ANTHILL_WORKER_CHECKPOINT_ARGUMENTS_H

#include <argp.h>
#include <stdint.h>

#include "common/program.h"
#include "worker/job.h"

struct checkpoint_arguments {
    const char *run;
    uint64_t step; /* 0: the best one */
    struct string_list overrides;
};

/* As the children of a command's argp whose input is a struct checkpoint_arguments, or begins with
 * one. */
extern const struct argp_child checkpoint_arguments_argp[];

/* Opens RUN/run.yaml, its graph and model, and the checkpoint.
 *   owner    job_close(job), client_close(input->client), also after an error */
enum status checkpoint_arguments_open(const struct checkpoint_arguments *arguments, struct job *job,
                                      struct evaluator_input *input, char step_dir[FILE_PATH_BYTES],
                                      struct error *error) MUST_CHECK;

#endif
