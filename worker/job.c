#include "worker/job.h"

#include <cyaml/cyaml.h>
#include <stdlib.h>
#include <string.h>

#include "ps/checkpoint.h"
#include "ps/table_spec.h"
#include "worker/tables.h"

#define RESULT_BYTES_MAX (1u << 20)

enum status job_open(struct job *job, const char *config_path, const struct string_list *overrides,
                     struct error *error)
{
    memset(job, 0, sizeof *job);
    enum status status =
        config_load(&job->config, config_path, overrides->items, overrides->count, error);
    if (status != STATUS_OK) return status;
    const struct config *config = job->config;
    if (config->graph.path == NULL || config->graph.path[0] == '\0') {
        return error_set(error, STATUS_CONFIG, "%s: graph.path: expected the graph's folder",
                         config_path);
    }
    status = graph_open(&job->graph, config->graph.path, config->graph.split, error);
    if (status != STATUS_OK) return status;
    status = model_create(&job->model, config, graph_info(job->graph), error);
    return status == STATUS_OK ? status : error_wrap(error, status, "%s", config_path);
}

void job_close(struct job *job)
{
    model_destroy(job->model);
    graph_close(job->graph);
    config_destroy(job->config);
    memset(job, 0, sizeof *job);
}

enum status job_coordinator(const struct job *job, char **endpoint, struct error *error)
{
    char path[FILE_PATH_BYTES];
    size_t bytes = 0;
    enum status status = file_path(path, error, "%s/coordinator.endpoint", job->config->run.dir);
    if (status == STATUS_OK) status = file_read_all(path, 4096, endpoint, &bytes, error);
    if (status != STATUS_OK) {
        return error_wrap(error, status, "no --coordinator given, and no coordinator of this run");
    }
    (*endpoint)[strcspn(*endpoint, "\r\n")] = '\0';
    return STATUS_OK;
}

/* The one member of result.json that matters here; JSON is YAML. */
struct result {
    char *checkpoint;
};

static char *result_checkpoint(const char *run_dir)
{
    static const cyaml_schema_field_t fields[] = {
        CYAML_FIELD_STRING_PTR("checkpoint", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
                               struct result, checkpoint, 0, CYAML_UNLIMITED),
        CYAML_FIELD_END,
    };
    static const cyaml_schema_value_t schema = {
        CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct result, fields)};
    static const cyaml_config_t settings = {
        .log_level = CYAML_LOG_ERROR + 1,
        .mem_fn = cyaml_mem,
        .flags = CYAML_CFG_IGNORE_UNKNOWN_KEYS,
    };
    char path[FILE_PATH_BYTES];
    char *json = NULL, *checkpoint = NULL;
    size_t bytes = 0;
    if (file_path(path, NULL, "%s/result.json", run_dir) != STATUS_OK) return NULL;
    if (file_read_all(path, RESULT_BYTES_MAX, &json, &bytes, NULL) != STATUS_OK) return NULL;
    struct result *result = NULL;
    if (cyaml_load_data((const uint8_t *)json, bytes, &settings, &schema, (cyaml_data_t **)&result,
                        NULL) == CYAML_OK &&
        result != NULL && result->checkpoint != NULL) {
        checkpoint = strdup(result->checkpoint);
    }
    cyaml_free(&settings, &schema, result, 0);
    free(json);
    return checkpoint;
}

enum status job_checkpoint(const char *run_dir, uint64_t step, char path[FILE_PATH_BYTES],
                           struct error *error)
{
    char checkpoints[FILE_PATH_BYTES];
    enum status status = file_path(checkpoints, error, "%s/checkpoints", run_dir);
    if (status != STATUS_OK) return status;
    char *named = step == 0 ? result_checkpoint(run_dir) : NULL;
    if (named != NULL) {
        status = file_path(path, error, "%s/%s", run_dir, named);
        free(named);
        return status;
    }
    if (step == 0) step = checkpoint_latest(checkpoints);
    if (step == 0) {
        return error_set(error, STATUS_NOT_FOUND, "%s holds no complete checkpoint", checkpoints);
    }
    status = file_path(path, error, "%s/step-%llu", checkpoints, (unsigned long long)step);
    if (status == STATUS_OK && !file_exists(path)) {
        status = error_set(error, STATUS_NOT_FOUND, "%s: no such checkpoint", path);
    }
    return status;
}

static enum status check_table(struct client *client, const Anthill__TableSpec *wanted,
                               uint32_t *table, struct error *error)
{
    const Anthill__TableSpec *found = client_table_spec(client, wanted->name, table);
    if (found == NULL) {
        return error_set(error, STATUS_CONFIG, "has no table %s, which the model needs",
                         wanted->name);
    }
    return table_spec_compare(wanted, found, error);
}

enum status job_open_checkpoint(const struct job *job, const char *step_dir,
                                struct evaluator_input *input, struct error *error)
{
    *input =
        (struct evaluator_input){.config = job->config, .graph = job->graph, .model = job->model};
    enum status status = client_open_checkpoint(&input->client, step_dir, error);
    if (status != STATUS_OK) return status;
    struct tables tables;
    status = tables_init(&tables, job->config, job->model, error);
    if (status != STATUS_OK) goto out;
    status = check_table(input->client, &tables.weights, &input->weights_table, error);
    if (status == STATUS_OK && tables.embeddings.dim > 0)
        status = check_table(input->client, &tables.embeddings, &input->embeddings_table, error);
    tables_deinit(&tables);
    if (status != STATUS_OK) status = error_wrap(error, status, "checkpoint %s", step_dir);
out:
    if (status != STATUS_OK) {
        client_close(input->client);
        input->client = NULL;
    }
    return status;
}
