#include "common/config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/config_check.h"
#include "common/config_limits.h"
#include "common/config_schema.h"
#include "common/config_tree.h"
#include "common/file.h"
#include "common/text.h"

enum { FILE_BYTES_MAX = 1 << 20 };

/* One key that the environment or an override set. */
struct setting {
    char *key;   /* "train.epochs" */
    char *shown; /* how errors name it: "--set train.epochs=3" */
};

struct loader {
    const char *path;     /* NULL: no file */
    yaml_document_t file; /* as it was parsed, for the lines of its keys */
    bool has_file;
    yaml_document_t merged;
    struct setting *settings; /* in the order in which they were applied */
    size_t setting_count;
    struct error *error;
};

static enum status load_file(struct loader *loader)
{
    char *text = NULL;
    size_t bytes;
    unsigned line = 1;
    enum status status = file_read_all(loader->path, FILE_BYTES_MAX, &text, &bytes, loader->error);
    if (status == STATUS_CORRUPT) status = STATUS_CONFIG;
    if (status != STATUS_OK) return status;
    status = config_tree_parse(&loader->file, text, bytes, &line, loader->error);
    free(text);
    if (status != STATUS_OK) {
        return error_wrap(loader->error, status, "%s:%u", loader->path, line);
    }
    loader->has_file = true;
    status = config_check_file(&loader->file, loader->path, loader->error);
    if (status == STATUS_OK) config_tree_merge(&loader->merged, &loader->file);
    return status;
}

static void load_defaults(struct loader *loader)
{
    yaml_document_t defaults;
    unsigned line;
    CHECK(config_tree_parse(&defaults, (const char *)config_defaults, config_defaults_bytes, &line,
                            NULL) == STATUS_OK);
    CHECK(config_check_file(&defaults, "conf/defaults.yaml", NULL) == STATUS_OK);
    config_tree_copy(&loader->merged, &defaults);
    yaml_document_delete(&defaults);
}

/* Notes a setting, so that errors about its key can name it. `shown` is taken. */
static struct setting *note_setting(struct loader *loader, const char *key, size_t key_bytes,
                                    char *shown)
{
    struct setting *settings =
        realloc(loader->settings, (loader->setting_count + 1) * sizeof *settings);
    CHECK(settings != NULL);
    loader->settings = settings;
    struct setting *setting = &settings[loader->setting_count++];
    *setting = (struct setting){.key = strndup(key, key_bytes), .shown = shown};
    CHECK(setting->key != NULL);
    return setting;
}

/* A value that is text stands as it is, colons and all, unless it is quoted; others are YAML. */
static enum status parse_value(yaml_document_t *tree, const cyaml_schema_value_t *schema,
                               const char *value, const char *shown, struct error *error)
{
    bool quoted = value[0] == '"' || value[0] == '\'';
    if (value[0] == 0 || (schema->type == CYAML_STRING && !quoted)) {
        if (config_tree_string(tree, value)) return STATUS_OK;
        return error_set(error, STATUS_CONFIG, "%.300s: not UTF-8", shown);
    }
    unsigned line;
    enum status status = config_tree_parse(tree, value, strlen(value), &line, error);
    if (status != STATUS_OK) return error_wrap(error, status, "%.300s", shown);
    if (yaml_document_get_root_node(tree) != NULL) return STATUS_OK;
    yaml_document_delete(tree);
    return error_set(error, STATUS_CONFIG, "%.300s: a value expected", shown);
}

static enum status apply_setting(struct loader *loader, const struct setting *setting,
                                 const char *value)
{
    const cyaml_schema_value_t *schema;
    yaml_document_t tree;
    enum status status = config_check_key(setting->key, setting->shown, &schema, loader->error);
    if (status != STATUS_OK) return status;
    status = parse_value(&tree, schema, value, setting->shown, loader->error);
    if (status != STATUS_OK) return status;
    status = config_check_value(&tree, schema, setting->key, setting->shown, loader->error);
    if (status == STATUS_OK && !config_tree_set(&loader->merged, setting->key, &tree)) {
        status = error_set(loader->error, STATUS_CONFIG, "%.300s: there is no such entry",
                           setting->shown);
    }
    yaml_document_delete(&tree);
    return status;
}

/* "a.b=value"; `origin` stands before it in errors. */
static enum status apply_override(struct loader *loader, const char *origin, const char *override)
{
    struct text shown = {0};
    const char *value = strchr(override, '=');
    if (value == NULL) {
        return error_set(loader->error, STATUS_CONFIG, "%s %.300s: key=value expected", origin,
                         override);
    }
    text_add(&shown, "%s %s", origin, override);
    struct setting *setting =
        note_setting(loader, override, (size_t)(value - override), text_take(&shown));
    return apply_setting(loader, setting, value + 1);
}

/* "train.epochs" for "ANTHILL_TRAIN_EPOCHS"; false when no key has that name. */
static bool key_of_variable(const char *name, size_t name_bytes, char key[64])
{
    const cyaml_schema_field_t *section = config_schema.mapping.fields;
    for (; section->key != NULL; section++) {
        const cyaml_schema_field_t *field = section->value.mapping.fields;
        for (; field->key != NULL; field++) {
            char variable[96];
            snprintf(variable, sizeof variable, "ANTHILL_%s_%s", section->key, field->key);
            for (char *c = variable; *c != 0; c++)
                *c = (char)toupper((unsigned char)*c);
            if (strlen(variable) != name_bytes || memcmp(variable, name, name_bytes) != 0) continue;
            snprintf(key, 64, "%s.%s", section->key, field->key);
            return true;
        }
    }
    return false;
}

/* Variables that are not configuration. Kubernetes describes each service to each pod by variables
 * of the service's name: ANTHILL_PS_SERVICE_HOST, ANTHILL_PS_PORT_7000_TCP_ADDR, ... */
static bool is_foreign_variable(const char *name, size_t name_bytes, const char *value)
{
    static const char *const known[] = {"ANTHILL_SOURCE_DIR", "ANTHILL_BIN_DIR",
                                        "ANTHILL_BLAS_STARTED"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strlen(known[i]) == name_bytes && memcmp(known[i], name, name_bytes) == 0) return true;
    }
    char copy[256];
    snprintf(copy, sizeof copy, "%.*s", (int)name_bytes, name);
    if (strstr(copy, "_SERVICE_HOST") != NULL || strstr(copy, "_SERVICE_PORT") != NULL) return true;
    const char *port = strstr(copy, "_PORT");
    if (port == NULL) return false;
    if (port[5] == 0) return strstr(value, "://") != NULL;
    return port[5] == '_' && isdigit((unsigned char)port[6]);
}

static enum status apply_environment(struct loader *loader)
{
    for (char **variable = environ; *variable != NULL; variable++) {
        if (strncmp(*variable, "ANTHILL_", 8) != 0) continue;
        const char *value = strchr(*variable, '=');
        if (value == NULL) continue;
        size_t name_bytes = (size_t)(value - *variable);
        char key[64];
        if (!key_of_variable(*variable, name_bytes, key)) {
            if (is_foreign_variable(*variable, name_bytes, value + 1)) continue;
            return error_set(loader->error, STATUS_CONFIG,
                             "%.*s: unknown key (ANTHILL_<SECTION>_<KEY> expected)",
                             (int)name_bytes, *variable);
        }
        char *shown = strdup(*variable);
        CHECK(shown != NULL);
        struct setting *setting = note_setting(loader, key, strlen(key), shown);
        enum status status = apply_setting(loader, setting, value + 1);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

/* True when `a` is `b` or a part of it, or the other way round. */
static bool overlap(const char *a, const char *b)
{
    size_t a_bytes = strlen(a), b_bytes = strlen(b);
    size_t least = a_bytes < b_bytes ? a_bytes : b_bytes;
    if (memcmp(a, b, least) != 0) return false;
    return a_bytes == b_bytes || (a_bytes > least ? a : b)[least] == '.';
}

/* "where: key: what" with the place that gave the key its value. */
static void refuse_fault(struct loader *loader, const struct config_fault *fault)
{
    for (size_t i = loader->setting_count; i-- > 0;) {
        if (!overlap(loader->settings[i].key, fault->key)) continue;
        error_set(loader->error, STATUS_CONFIG, "%.300s: %s: %s", loader->settings[i].shown,
                  fault->key, fault->text);
        return;
    }
    int node = loader->has_file ? config_tree_find(&loader->file, fault->key) : 0;
    if (node != 0) {
        size_t line = yaml_document_get_node(&loader->file, node)->start_mark.line + 1;
        error_set(loader->error, STATUS_CONFIG, "%s:%zu: %s: %s", loader->path, line, fault->key,
                  fault->text);
        return;
    }
    error_set(loader->error, STATUS_CONFIG, "%s: %s: %s",
              loader->has_file ? loader->path : "conf/defaults.yaml", fault->key, fault->text);
}

__attribute__((format(printf, 3, 0))) static void collect_log(cyaml_log_t level, void *context,
                                                              const char *format, va_list args)
{
    char line[256];
    (void)level;
    vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = 0;
    text_add(context, "%s; ", line);
}

static cyaml_config_t cyaml_settings(struct text *log)
{
    return (cyaml_config_t){.log_fn = collect_log,
                            .log_ctx = log,
                            .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_ERROR,
                            .flags = CYAML_CFG_NO_ALIAS};
}

/* What was merged, as a struct whose values are in their ranges. */
static enum status finish(struct loader *loader, struct config **config)
{
    struct text log = {0};
    struct config *loaded = NULL;
    yaml_document_t copy;
    config_tree_copy(&copy, &loader->merged);
    char *yaml = config_tree_emit(&copy);
    cyaml_config_t settings = cyaml_settings(&log);
    cyaml_err_t failed = cyaml_load_data((const uint8_t *)yaml, strlen(yaml), &settings,
                                         &config_schema, (cyaml_data_t **)&loaded, NULL);
    free(yaml);
    if (failed != CYAML_OK || loaded == NULL) {
        error_set(loader->error, STATUS_CONFIG, "%s: %s: %s",
                  loader->has_file ? loader->path : "conf/defaults.yaml", cyaml_strerror(failed),
                  log.data == NULL ? "" : log.data);
        text_deinit(&log);
        return STATUS_CONFIG;
    }
    text_deinit(&log);
    struct config_fault fault;
    if (!config_limits_hold(loaded, &fault)) {
        config_destroy(loaded);
        refuse_fault(loader, &fault);
        return STATUS_CONFIG;
    }
    *config = loaded;
    return STATUS_OK;
}

/* The run to compare with must load too: it comes first, and nothing starts with a bad one. */
static enum status check_baseline(struct loader *loader, const struct config *config)
{
    struct config *baseline;
    if (config->run.baseline_count == 0) return STATUS_OK;
    for (unsigned i = 0; i < config->run.baseline_count; i++) {
        enum status status = apply_override(loader, "run.baseline:", config->run.baseline[i]);
        if (status != STATUS_OK) return status;
    }
    enum status status = finish(loader, &baseline);
    if (status == STATUS_OK) config_destroy(baseline);
    return status;
}

enum status config_load(struct config **config, const char *path, char *const *overrides,
                        size_t override_count, struct error *error)
{
    struct loader loader = {.path = path, .error = error};
    struct config *loaded = NULL;
    enum status status = STATUS_OK;
    load_defaults(&loader);
    if (path != NULL) status = load_file(&loader);
    if (status == STATUS_OK) status = apply_environment(&loader);
    for (size_t i = 0; i < override_count && status == STATUS_OK; i++)
        status = apply_override(&loader, "--set", overrides[i]);
    if (status == STATUS_OK) status = finish(&loader, &loaded);
    if (status == STATUS_OK) status = check_baseline(&loader, loaded);
    if (status != STATUS_OK) {
        config_destroy(loaded);
        loaded = NULL;
    }
    *config = loaded;
    yaml_document_delete(&loader.merged);
    if (loader.has_file) yaml_document_delete(&loader.file);
    for (size_t i = 0; i < loader.setting_count; i++) {
        free(loader.settings[i].key);
        free(loader.settings[i].shown);
    }
    free(loader.settings);
    return status;
}

void config_destroy(struct config *config)
{
    cyaml_config_t settings = {.mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};
    if (config == NULL) return;
    CHECK(cyaml_free(&settings, &config_schema, config, 0) == CYAML_OK);
}
