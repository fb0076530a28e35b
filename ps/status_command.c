/* `anthill-ps status`: asks the coordinator of a run how it stands. Its reply is JSON, which is
 * YAML too: libyaml reads it. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/program.h"
#include "common/transport.h"
#include "ps/client/control.h"
#include "ps/coordinator_command.h"
#include "ps/run_arguments.h"

#define ANSWER_NS (5 * NS_PER_S)

static error_t parse(int key, char *argument, struct argp_state *state)
{
    (void)argument;
    if (key != ARGP_KEY_INIT) return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->input;
    return 0;
}

static const struct argp argp = {
    .parser = parse,
    .children = run_arguments_argp,
    .args_doc = "RUN_DIR",
    .doc =
        "Shows how a run stands: progress, workers, servers, checkpoints. Of a run that is over, "
        "its result.",
};

/* ---- the answer as a table ----------------------------------------------------------------------
 */

static yaml_node_t *member(yaml_document_t *document, yaml_node_t *node, const char *name)
{
    if (node == NULL || node->type != YAML_MAPPING_NODE) return NULL;
    yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    for (; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(document, pair->key);
        if (key->type == YAML_SCALAR_NODE &&
            strcmp((const char *)key->data.scalar.value, name) == 0)
            return yaml_document_get_node(document, pair->value);
    }
    return NULL;
}

static const char *value_of(yaml_document_t *document, yaml_node_t *node, const char *name)
{
    const yaml_node_t *found = member(document, node, name);
    if (found == NULL || found->type != YAML_SCALAR_NODE) return "-";
    return (const char *)found->data.scalar.value;
}

static double number_of(yaml_document_t *document, yaml_node_t *node, const char *name)
{
    return strtod(value_of(document, node, name), NULL);
}

static void print_split(yaml_document_t *document, yaml_node_t *evaluation, const char *split)
{
    yaml_node_t *metrics = member(document, evaluation, split);
    if (metrics == NULL || metrics->type != YAML_MAPPING_NODE) return;
    yaml_node_pair_t *pair = metrics->data.mapping.pairs.start;
    for (; pair < metrics->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(document, pair->value);
        if (key->type != YAML_SCALAR_NODE || value->type != YAML_SCALAR_NODE) continue;
        printf("  %s/%s %s", split, (const char *)key->data.scalar.value,
               (const char *)value->data.scalar.value);
    }
}

static void print_evaluation(yaml_document_t *document, yaml_node_t *root, const char *name)
{
    yaml_node_t *evaluation = member(document, root, name);
    if (evaluation == NULL) return;
    printf("%-12s epoch %s", name, value_of(document, evaluation, "epoch"));
    print_split(document, evaluation, "valid");
    print_split(document, evaluation, "test");
    putchar('\n');
}

static void print_workers(yaml_document_t *document, yaml_node_t *root)
{
    yaml_node_t *workers = member(document, root, "workers");
    if (workers == NULL || workers->type != YAML_SEQUENCE_NODE) return;
    printf("\n%-24s %8s %-8s %10s %7s\n", "worker", "session", "state", "last seen", "leases");
    yaml_node_item_t *item = workers->data.sequence.items.start;
    for (; item < workers->data.sequence.items.top; item++) {
        yaml_node_t *worker = yaml_document_get_node(document, *item);
        yaml_node_t *leases = member(document, worker, "leases");
        size_t count = 0;
        if (leases != NULL && leases->type == YAML_SEQUENCE_NODE)
            count = (size_t)(leases->data.sequence.items.top - leases->data.sequence.items.start);
        printf("%-24s %8s %-8s %8.1f s %7zu\n", value_of(document, worker, "name"),
               value_of(document, worker, "session"), value_of(document, worker, "presence"),
               number_of(document, worker, "seen_seconds"), count);
    }
}

/* "1.0", or while it is being copied "1.0 behind"; "-": none. */
static const char *backup_of(yaml_document_t *document, yaml_node_t *shard, char name[32])
{
    const char *backup = value_of(document, shard, "backup");
    if (strcmp(backup, "null") == 0 || strcmp(backup, "-") == 0) return "-";
    bool complete = strcmp(value_of(document, shard, "complete"), "true") == 0;
    snprintf(name, 32, "%s%s", backup, complete ? "" : " behind");
    return name;
}

static void print_shards(yaml_document_t *document, yaml_node_t *root)
{
    yaml_node_t *shards = member(document, root, "shards");
    if (shards == NULL || shards->type != YAML_SEQUENCE_NODE) return;
    printf("\n%6s %5s %-6s %12s %10s %10s %-12s %s\n", "server", "shard", "ready", "rows", "MiB",
           "last seen", "backup", "endpoint");
    yaml_node_item_t *item = shards->data.sequence.items.start;
    for (; item < shards->data.sequence.items.top; item++) {
        yaml_node_t *shard = yaml_document_get_node(document, *item);
        char backup[32];
        printf("%6s %5s %-6s %12s %10.1f %8.1f s %-12s %s\n", value_of(document, shard, "server"),
               value_of(document, shard, "shard"),
               strcmp(value_of(document, shard, "ready"), "true") == 0 ? "yes" : "no",
               value_of(document, shard, "rows"),
               number_of(document, shard, "bytes") / (1024.0 * 1024.0),
               number_of(document, shard, "seen_seconds"), backup_of(document, shard, backup),
               value_of(document, shard, "endpoint"));
    }
}

static void print_table(yaml_document_t *document, yaml_node_t *root)
{
    printf("%-12s %s: epoch %s of %s, %.0f%%, %.0f s, loss %s\n", value_of(document, root, "run"),
           value_of(document, root, "phase"), value_of(document, root, "epoch"),
           value_of(document, root, "epochs"), 100 * number_of(document, root, "progress"),
           number_of(document, root, "seconds"), value_of(document, root, "loss"));
    if (member(document, root, "error") != NULL)
        printf("%-12s %s\n", "error", value_of(document, root, "error"));
    yaml_node_t *checkpoints = member(document, root, "checkpoints");
    printf("%-12s latest step %s, best step %s, under way %s, failed %s\n", "checkpoints",
           value_of(document, checkpoints, "latest"), value_of(document, checkpoints, "best"),
           value_of(document, checkpoints, "pending"), value_of(document, checkpoints, "failed"));
    print_evaluation(document, root, "best");
    print_evaluation(document, root, "last");
    print_workers(document, root);
    print_shards(document, root);
}

static enum status show(const char *json, struct error *error)
{
    yaml_parser_t parser;
    yaml_document_t document;
    if (!yaml_parser_initialize(&parser)) return error_set(error, STATUS_NOMEM, "YAML parser");
    yaml_parser_set_input_string(&parser, (const unsigned char *)json, strlen(json));
    enum status status = STATUS_OK;
    if (!yaml_parser_load(&parser, &document)) {
        status = error_set(error, STATUS_CORRUPT, "the coordinator's answer is not JSON");
    } else {
        yaml_node_t *root = yaml_document_get_root_node(&document);
        if (root != NULL) print_table(&document, root);
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
    return status;
}

/* ---- asking ------------------------------------------------------------------------------------
 */

static enum status ask(const char *endpoint, bool json, struct error *error)
{
    struct control *control = NULL;
    struct message reply = {0};
    enum status status = control_open(&control, endpoint, 0, ANSWER_NS, error);
    if (status != STATUS_OK) return status;
    Anthill__StatusRequest request = ANTHILL__STATUS_REQUEST__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_STATUS_REQUEST;
    envelope.status_request = &request;
    status = control_call(control, &envelope, &reply, error);
    if (status == STATUS_OK && reply.envelope->body_case != ANTHILL__ENVELOPE__BODY_STATUS_REPLY) {
        status = error_set(error, STATUS_CORRUPT, "%s answers with message %d", endpoint,
                           (int)reply.envelope->body_case);
    } else if (status == STATUS_OK && json) {
        printf("%s\n", reply.envelope->status_reply->json);
    } else if (status == STATUS_OK) {
        status = show(reply.envelope->status_reply->json, error);
    }
    wire_message_deinit(&reply);
    control_close(control);
    transport_shutdown();
    return status;
}

/* Of a run that is over: its result. STATUS_NOT_FOUND when there is none. */
static enum status print_result(const char *run_dir, bool json, struct error *error)
{
    char path[FILE_PATH_BYTES];
    char *result = NULL;
    size_t bytes = 0;
    enum status status = file_path(path, error, "%s/result.json", run_dir);
    if (status == STATUS_OK) status = file_read_all(path, 1u << 20, &result, &bytes, error);
    if (status == STATUS_OK) printf("%s%s", json ? "" : "the run is over: ", result);
    free(result);
    return status;
}

static enum status status_of(const struct run_arguments *arguments, struct error *error)
{
    char *endpoint = NULL;
    enum status status = run_arguments_endpoint(arguments, &endpoint, error);
    if (status == STATUS_OK) status = ask(endpoint, arguments->json, error);
    free(endpoint);
    if (status != STATUS_NOT_FOUND || arguments->run_dir == NULL) return status;
    status = print_result(arguments->run_dir, arguments->json, error);
    if (status != STATUS_NOT_FOUND) return status;
    return error_set(error, STATUS_NOT_FOUND,
                     "%s holds no run: neither coordinator.endpoint nor result.json is there",
                     arguments->run_dir);
}

int status_command(int argc, char **argv)
{
    struct run_arguments arguments = {0};
    struct error error = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    enum status status = status_of(&arguments, &error);
    if (status == STATUS_OK && fflush(stdout) != 0)
        status = error_set(&error, STATUS_IO, "standard output");
    return status == STATUS_OK ? 0 : program_fail(status, &error);
}
