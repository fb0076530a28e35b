#include "ps/table_command.h"

#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/program.h"
#include "common/text.h"
#include "common/transport.h"
#include "ps/client/client.h"
#include "ps/run_arguments.h"
#include "ps/table_export.h"
#include "ps/table_files.h"

#define ANSWER_NS (30 * NS_PER_S)

struct table_arguments {
    struct run_arguments run;
    const char *table;
    const char *files;        /* the folder or file ... */
    const char *files_option; /* ... that this option names */
};

enum { KEY_TABLE = 256, KEY_FILES };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct table_arguments *arguments = state->input;
    switch (key) {
    case KEY_TABLE:
        arguments->table = argument;
        return 0;
    case KEY_FILES:
        arguments->files = argument;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &arguments->run;
        return 0;
    case ARGP_KEY_END:
        if (arguments->table == NULL) argp_error(state, "expected --table NAME");
        if (arguments->files == NULL) argp_error(state, "expected --%s", arguments->files_option);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

#define TABLE_OPTION                                                                               \
    {                                                                                              \
        "table", KEY_TABLE, "NAME", 0,                                                             \
            "the table; an unknown one is answered by the names there are", 0                      \
    }
#define EXIT_CODES                                                                                 \
    "Exit codes: 0 done; 64 usage; 65 bad data; 66 no such run, table or file; 69 the run's "      \
    "servers do not answer; 74 input/output; 75 asked to stop, or no room for rows; 77 --out "     \
    "holds something else."

/* ---- one command after the other: joins the run, does its work, prints what it did ---------- */

static enum status export_table(struct client *client, const struct table_arguments *arguments,
                                struct text *text, struct error *error)
{
    struct table_export result;
    enum status status =
        table_export(client, arguments->table, arguments->files, STDERR_FILENO, &result, error);
    if (status != STATUS_OK) return status;
    if (!arguments->run.json && result.dense) {
        text_add(text, "%s: %" PRIu64 " tensors of %" PRIu64 " floats together", arguments->files,
                 result.tensors, result.floats);
    } else if (!arguments->run.json) {
        text_add(text, "%s: %" PRIu64 " rows of %u floats", arguments->files, result.rows,
                 result.dim);
    } else if (result.dense) {
        text_add(text, "\"tensors\":%" PRIu64 ",\"floats\":%" PRIu64, result.tensors,
                 result.floats);
    } else {
        text_add(text, "\"rows\":%" PRIu64 ",\"dim\":%u", result.rows, result.dim);
    }
    text_add(text, arguments->run.json ? ",\"seconds\":%.3f" : " in %.1f s", result.seconds);
    return STATUS_OK;
}

static enum status import_table(struct client *client, const struct table_arguments *arguments,
                                struct text *text, struct error *error)
{
    struct table_import result;
    enum status status = table_files_import(client, arguments->table, arguments->files,
                                            STDERR_FILENO, &result, error);
    if (status != STATUS_OK) return status;
    if (arguments->run.json) {
        text_add(text,
                 "\"rows\":%" PRIu64 ",\"dim\":%u,\"duplicates\":%" PRIu64 ",\"seconds\":%.3f",
                 result.rows, result.dim, result.duplicates, result.seconds);
        return STATUS_OK;
    }
    text_add(text, "%s: %" PRIu64 " rows of %u floats in %.1f s", arguments->files, result.rows,
             result.dim, result.seconds);
    if (result.duplicates > 0)
        text_add(text, "; %" PRIu64 " keys stood again: their last rows count", result.duplicates);
    return STATUS_OK;
}

static enum status delete_rows(struct client *client, const struct table_arguments *arguments,
                               struct text *text, struct error *error)
{
    static struct table_deletion result; /* client_close comes after this function */
    enum status status = table_files_delete(client, arguments->table, arguments->files,
                                            STDERR_FILENO, &result, error);
    if (status != STATUS_OK) return status;
    text_add(text,
             arguments->run.json ? "\"keys\":%" PRIu64 ",\"deleted\":%" PRIu64 ",\"seconds\":%.3f"
                                 : "%" PRIu64 " keys: %" PRIu64 " rows deleted in %.1f s",
             result.keys, result.deleted, result.seconds);
    return STATUS_OK;
}

typedef enum status table_work(struct client *client, const struct table_arguments *arguments,
                               struct text *text, struct error *error);

static enum status print(const struct table_arguments *arguments, const char *said,
                         struct error *error)
{
    struct text line = {0};
    if (arguments->run.json) {
        text_add(&line, "{\"table\":");
        text_add_json_string(&line, arguments->table);
        text_add(&line, ",%s}", said);
    } else {
        text_add(&line, "%s", said);
    }
    bool printed = puts(line.data) >= 0 && fflush(stdout) == 0;
    text_deinit(&line);
    return printed ? STATUS_OK : error_set(error, STATUS_IO, "standard output");
}

static int run(const struct argp *argp, const char *name, struct table_arguments *arguments,
               table_work *work, int argc, char **argv)
{
    struct client *client = NULL;
    struct error error = {0};
    struct text text = {0};
    char *endpoint = NULL;
    argp_parse(argp, argc, argv, 0, NULL, arguments);
    enum status status = run_arguments_endpoint(&arguments->run, &endpoint, &error);
    if (status == STATUS_OK) {
        const struct client_options options = {
            .coordinator = endpoint, .name = name, .timeout_ns = ANSWER_NS};
        status = client_open(&client, &options, &error);
    }
    if (status == STATUS_OK) status = work(client, arguments, &text, &error);
    client_close(client);
    transport_shutdown();
    if (status == STATUS_OK) status = print(arguments, text.data, &error);
    text_deinit(&text);
    free(endpoint);
    return status == STATUS_OK ? 0 : program_fail(status, &error);
}

int export_command(int argc, char **argv)
{
    static const struct argp_option options[] = {
        TABLE_OPTION,
        {"out", KEY_FILES, "DIR", 0,
         "where to write; appears whole or not at all, in place of an earlier export of the table",
         0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .children = run_arguments_argp,
        .args_doc = "RUN_DIR",
        .doc =
            "Writes a table of a run that is going on to .npy files: a sparse one as keys.npy "
            "(u64 [n], in no order that means anything) and values.npy (f32 [n, dim]); a dense "
            "one as a file for each tensor with its name (f32 [rows, cols]; layer-0/sage/weight: "
            "layer-0.sage.weight.npy). The run goes on: each row is as it was at some time of "
            "the export.\v" EXIT_CODES,
    };
    struct table_arguments arguments = {.files_option = "out DIR"};
    return run(&argp, "export", &arguments, export_table, argc, argv);
}

int import_command(int argc, char **argv)
{
    static const struct argp_option options[] = {
        TABLE_OPTION,
        {"from", KEY_FILES, "DIR", 0, "the folder of keys.npy and values.npy", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .children = run_arguments_argp,
        .args_doc = "RUN_DIR",
        .doc = "Sets rows of a sparse table of a run that is going on: keys.npy (u64 [n]) says "
               "which, values.npy (f32 [n, dim], no other type) what they become. Missing rows are "
               "created; optimizer state becomes that of new rows. Of a key that stands more than "
               "once the last row counts. Nothing is set unless both files are sound.\v" EXIT_CODES,
    };
    struct table_arguments arguments = {.files_option = "from DIR"};
    return run(&argp, "import", &arguments, import_table, argc, argv);
}

int delete_command(int argc, char **argv)
{
    static const struct argp_option options[] = {
        TABLE_OPTION,
        {"keys", KEY_FILES, "FILE.npy", 0, "the keys, u64 [n]", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .children = run_arguments_argp,
        .args_doc = "RUN_DIR",
        .doc =
            "Removes rows of a sparse table of a run that is going on, and says how many of the "
            "keys were there. A row that is used again starts from its first value.\v" EXIT_CODES,
    };
    struct table_arguments arguments = {.files_option = "keys FILE.npy"};
    return run(&argp, "delete", &arguments, delete_rows, argc, argv);
}
