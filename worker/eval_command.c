#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/program.h"
#include "common/text.h"
#include "worker/checkpoint_arguments.h"
#include "worker/commands.h"
#include "worker/evaluator.h"
#include "worker/job.h"

static const struct argp argp = {
    .children = checkpoint_arguments_argp,
    .args_doc = "RUN",
    .doc = "Scores a checkpoint of the run in folder RUN on its train, valid and test splits, by "
           "full-neighbour inference, without servers. Prints one JSON object.",
};

static enum status score_all(const struct evaluator_input *input,
                             const struct evaluation *evaluation, struct text *json,
                             struct error *error)
{
    static const char *const names[] = {"train", "valid", "test"};
    enum status status = STATUS_OK;
    for (int split = GRAPH_SPLIT_TRAIN; status == STATUS_OK && split <= GRAPH_SPLIT_TEST; split++) {
        struct score score;
        status = evaluator_score(input, evaluation, (enum graph_split)split, &score, error);
        if (status != STATUS_OK || score.count == 0) continue;
        text_add(json, ",\"%s\":{\"nodes\":%llu,\"accuracy\":", names[split],
                 (unsigned long long)score.count);
        text_add_json_number(json, score.accuracy);
        text_add(json, ",\"macro_f1\":");
        text_add_json_number(json, score.macro_f1);
        text_add(json, ",\"loss\":");
        text_add_json_number(json, score.loss);
        text_add(json, "}");
    }
    return status;
}

int eval_command(int argc, char **argv)
{
    struct checkpoint_arguments arguments = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    struct job job = {0};
    struct evaluator_input input = {0};
    struct evaluation evaluation = {0};
    struct text json = {0};
    struct error error = {0};
    char step_dir[FILE_PATH_BYTES];
    enum status status = checkpoint_arguments_open(&arguments, &job, &input, step_dir, &error);
    if (status == STATUS_OK) status = evaluator_run(&input, false, &evaluation, &error);
    if (status == STATUS_OK) {
        text_add(&json, "{\"status\":\"ok\",\"checkpoint\":");
        text_add_json_string(&json, step_dir);
        status = score_all(&input, &evaluation, &json, &error);
    }
    if (status == STATUS_OK) printf("%s}\n", json.data);
    int exit_code = status == STATUS_OK ? 0 : program_fail(status, &error);
    evaluation_deinit(&evaluation);
    client_close(input.client);
    job_close(&job);
    text_deinit(&json);
    string_list_deinit(&arguments.overrides);
    return exit_code;
}
