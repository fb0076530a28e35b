#include "ps/checkpoint_manifest.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/checksum.h"
#include "common/file.h"
#include "ps/manifest_schema.h"
#include "ps/table_spec.h"

#define FORMAT             2u
#define MANIFEST_BYTES_MAX (256u << 20)
#define SEAL               "# xxh3 "

/* Keeps the first thing that libcyaml complains about. */
__attribute__((format(printf, 3, 0))) static void keep_complaint(cyaml_log_t level, void *context,
                                                                 const char *format, va_list args)
{
    struct error *error = context;
    if (level < CYAML_LOG_ERROR || error->text[0] != 0) return;
    vsnprintf(error->text, sizeof error->text, format, args);
    error->text[strcspn(error->text, "\n")] = 0;
}

static cyaml_config_t yaml_config(struct error *complaint)
{
    *complaint = (struct error){0};
    return (cyaml_config_t){.log_fn = keep_complaint,
                            .log_ctx = complaint,
                            .log_level = CYAML_LOG_ERROR,
                            .mem_fn = cyaml_mem,
                            .flags = CYAML_CFG_NO_ALIAS};
}

static enum status yaml_load(const char *path, const char *text, size_t bytes,
                             const cyaml_schema_value_t *schema, void *loaded, struct error *error)
{
    struct error complaint;
    cyaml_config_t config = yaml_config(&complaint);
    cyaml_err_t err = cyaml_load_data((const uint8_t *)text, bytes, &config, schema,
                                      (cyaml_data_t **)loaded, NULL);
    if (err == CYAML_OK && *(void **)loaded == NULL) {
        return error_set(error, STATUS_CORRUPT, "%s: there is nothing in it", path);
    }
    if (err == CYAML_OK) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT, "%s: %s: %s", path, cyaml_strerror(err),
                     complaint.text);
}

static void yaml_free(const cyaml_schema_value_t *schema, void *data)
{
    struct error complaint;
    cyaml_config_t config = yaml_config(&complaint);
    (void)cyaml_free(&config, schema, data, 0);
}

/* libcyaml 1.3.1 formats numbers in a static buffer. */
static pthread_mutex_t format_lock = PTHREAD_MUTEX_INITIALIZER;

/* Writes `data` as YAML; with `sealed` its checksum follows as a comment. */
static enum status yaml_save(const char *path, const cyaml_schema_value_t *schema, const void *data,
                             bool sealed, struct error *error)
{
    struct error complaint;
    cyaml_config_t config = yaml_config(&complaint);
    char *text = NULL;
    size_t bytes = 0;
    pthread_mutex_lock(&format_lock);
    cyaml_err_t err = cyaml_save_data(&text, &bytes, &config, schema, data, 0);
    pthread_mutex_unlock(&format_lock);
    if (err != CYAML_OK) {
        return error_set(error, STATUS_INVALID, "%s: %s: %s", path, cyaml_strerror(err),
                         complaint.text);
    }
    char *whole = malloc(bytes + 64);
    enum status status = STATUS_NOMEM;
    if (whole != NULL) {
        memcpy(whole, text, bytes);
        uint64_t checksum = checksum_bytes(text, bytes);
        if (sealed) {
            bytes += (size_t)snprintf(whole + bytes, 64, SEAL "%016" PRIx64 "\n", checksum);
        }
        status = file_write_atomic(path, whole, bytes, error);
    }
    free(whole);
    config.mem_fn(config.mem_ctx, text, 0);
    return status;
}

static void float_text(char text[MANIFEST_FLOAT_BYTES], float value)
{
    snprintf(text, MANIFEST_FLOAT_BYTES, "%.9g", (double)value);
}

/* NaN for what is no number: table_spec_check refuses it by the table's name. */
static float float_of(const char *text)
{
    char *end = NULL;
    float value = strtof(text, &end);
    return end == text || *end != 0 ? NAN : value;
}

/* ---- entries ---- */

static bool checksum_of(const char *text, uint64_t *checksum)
{
    char *end = NULL;
    *checksum = strtoull(text, &end, 16);
    return strlen(text) == MANIFEST_CHECKSUM_BYTES - 1 && *end == 0;
}

/* A name is one step of a path, so that a manifest cannot point outside its folder. */
static bool is_plain(const char *name)
{
    return name[0] != '.' && strchr(name, '/') == NULL && strlen(name) < CHECKPOINT_NAME_BYTES;
}

static enum status entries_read(const char *path, const struct yaml_entry *yaml, uint32_t count,
                                struct checkpoint_entry **entries, struct error *error)
{
    *entries = calloc(count + (size_t)1, sizeof **entries);
    if (*entries == NULL) return error_set(error, STATUS_NOMEM, "%s", path);
    for (uint32_t i = 0; i < count; i++) {
        struct checkpoint_entry *entry = &(*entries)[i];
        if (!is_plain(yaml[i].name) || !checksum_of(yaml[i].xxh3, &entry->checksum)) {
            return error_set(error, STATUS_CORRUPT, "%s: bad entry \"%s\" with checksum \"%s\"",
                             path, yaml[i].name, yaml[i].xxh3);
        }
        snprintf(entry->name, sizeof entry->name, "%s", yaml[i].name);
        entry->bytes = yaml[i].bytes;
    }
    return STATUS_OK;
}

struct entry_texts {
    struct yaml_entry *yaml;
    char (*checksums)[MANIFEST_CHECKSUM_BYTES];
};

static void entry_texts_deinit(struct entry_texts *texts)
{
    free(texts->yaml);
    free(texts->checksums);
}

static enum status entry_texts_init(struct entry_texts *texts,
                                    const struct checkpoint_entry *entries, uint32_t count)
{
    texts->yaml = calloc(count + (size_t)1, sizeof *texts->yaml);
    texts->checksums = calloc(count + (size_t)1, sizeof *texts->checksums);
    if (texts->yaml == NULL || texts->checksums == NULL) return STATUS_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        snprintf(texts->checksums[i], sizeof texts->checksums[i], "%016" PRIx64,
                 entries[i].checksum);
        texts->yaml[i] = (struct yaml_entry){.name = (char *)entries[i].name,
                                             .bytes = entries[i].bytes,
                                             .xxh3 = texts->checksums[i]};
    }
    return STATUS_OK;
}

/* ---- tables ---- */

/* Where an optimizer's floats stand in its spec, and their texts in the manifest. */
#define OPTIMIZER_FLOAT(field)                                                                     \
    {                                                                                              \
        offsetof(Anthill__OptimizerSpec, field), offsetof(struct yaml_optimizer, field)            \
    }
static const struct {
    size_t spec, yaml;
} optimizer_floats[] = {
    OPTIMIZER_FLOAT(rate),         OPTIMIZER_FLOAT(beta1),      OPTIMIZER_FLOAT(beta2),
    OPTIMIZER_FLOAT(epsilon),      OPTIMIZER_FLOAT(momentum),   OPTIMIZER_FLOAT(l1),
    OPTIMIZER_FLOAT(l2),           OPTIMIZER_FLOAT(ftrl_beta),  OPTIMIZER_FLOAT(clip_value),
    OPTIMIZER_FLOAT(weight_decay), OPTIMIZER_FLOAT(rate_final), OPTIMIZER_FLOAT(clip_norm),
};
enum { OPTIMIZER_FLOATS = sizeof optimizer_floats / sizeof *optimizer_floats };

/* The texts of a table's floats while it is written. */
struct table_texts {
    char init_scale[MANIFEST_FLOAT_BYTES];
    char optimizer[OPTIMIZER_FLOATS][MANIFEST_FLOAT_BYTES];
    char (*tensors)[2][MANIFEST_FLOAT_BYTES];
    struct yaml_tensor *yaml_tensors;
};

static enum status tensors_to_yaml(const Anthill__TableSpec *spec, struct table_texts *texts)
{
    texts->tensors = calloc(spec->n_tensors + 1, sizeof *texts->tensors);
    texts->yaml_tensors = calloc(spec->n_tensors + 1, sizeof *texts->yaml_tensors);
    if (texts->tensors == NULL || texts->yaml_tensors == NULL) return STATUS_NOMEM;
    for (size_t t = 0; t < spec->n_tensors; t++) {
        const Anthill__TensorSpec *tensor = spec->tensors[t];
        float_text(texts->tensors[t][0], tensor->init_scale);
        float_text(texts->tensors[t][1], tensor->weight_decay);
        texts->yaml_tensors[t] = (struct yaml_tensor){.name = tensor->name,
                                                      .rows = tensor->rows,
                                                      .cols = tensor->cols,
                                                      .init = tensor->init,
                                                      .init_scale = texts->tensors[t][0],
                                                      .weight_decay = texts->tensors[t][1]};
    }
    return STATUS_OK;
}

static void optimizer_to_yaml(const Anthill__OptimizerSpec *spec, struct yaml_optimizer *yaml,
                              struct table_texts *texts)
{
    *yaml = (struct yaml_optimizer){.kind = spec->kind,
                                    .schedule = spec->schedule,
                                    .warmup_clocks = spec->warmup_clocks,
                                    .total_clocks = spec->total_clocks};
    for (size_t i = 0; i < OPTIMIZER_FLOATS; i++) {
        float value;
        char *text = texts->optimizer[i];
        memcpy(&value, (const char *)spec + optimizer_floats[i].spec, sizeof value);
        float_text(text, value);
        memcpy((char *)yaml + optimizer_floats[i].yaml, &text, sizeof text);
    }
}

static enum status table_to_yaml(const struct part_table *table, struct yaml_table *yaml,
                                 struct table_texts *texts)
{
    const Anthill__TableSpec *spec = table->spec;
    float_text(texts->init_scale, spec->init_scale);
    if (tensors_to_yaml(spec, texts) != STATUS_OK) return STATUS_NOMEM;
    *yaml = (struct yaml_table){.name = spec->name,
                                .kind = spec->kind,
                                .full = table->full,
                                .rows = table->rows,
                                .deleted = table->deleted,
                                .dim = spec->dim,
                                .seed = spec->seed,
                                .init = spec->init,
                                .init_scale = texts->init_scale,
                                .consistency = spec->consistency,
                                .staleness = spec->staleness,
                                .compensate = spec->compensate,
                                .rows_max = spec->rows_max,
                                .bytes_max = spec->bytes_max,
                                .storage = spec->storage,
                                .admit_after = spec->admit_after,
                                .evict = spec->evict,
                                .evict_seconds = spec->evict_seconds,
                                .versioned = spec->versioned,
                                .tensors = texts->yaml_tensors,
                                .tensors_count = (uint32_t)spec->n_tensors};
    optimizer_to_yaml(spec->optimizer, &yaml->optimizer, texts);
    return STATUS_OK;
}

static void tensors_from_yaml(const struct yaml_table *yaml, Anthill__TensorSpec *tensors,
                              Anthill__TensorSpec **pointers)
{
    for (uint32_t t = 0; t < yaml->tensors_count; t++) {
        const struct yaml_tensor *from = &yaml->tensors[t];
        Anthill__TensorSpec *tensor = pointers[t] = &tensors[t];
        anthill__tensor_spec__init(tensor);
        tensor->name = from->name;
        tensor->rows = from->rows;
        tensor->cols = from->cols;
        tensor->init = (Anthill__InitKind)from->init;
        tensor->init_scale = float_of(from->init_scale);
        tensor->weight_decay = float_of(from->weight_decay);
    }
}

static void optimizer_from_yaml(const struct yaml_optimizer *yaml, Anthill__OptimizerSpec *spec)
{
    anthill__optimizer_spec__init(spec);
    spec->kind = (Anthill__OptimizerKind)yaml->kind;
    spec->schedule = (Anthill__ScheduleKind)yaml->schedule;
    spec->warmup_clocks = yaml->warmup_clocks;
    spec->total_clocks = yaml->total_clocks;
    for (size_t i = 0; i < OPTIMIZER_FLOATS; i++) {
        const char *text;
        memcpy(&text, (const char *)yaml + optimizer_floats[i].yaml, sizeof text);
        float value = float_of(text);
        memcpy((char *)spec + optimizer_floats[i].spec, &value, sizeof value);
    }
}

static enum status table_from_yaml(const struct yaml_table *yaml, struct part_table *table,
                                   struct error *error)
{
    Anthill__OptimizerSpec optimizer;
    optimizer_from_yaml(&yaml->optimizer, &optimizer);
    Anthill__TableSpec spec = ANTHILL__TABLE_SPEC__INIT;
    spec.name = yaml->name;
    spec.kind = (Anthill__TableKind)yaml->kind;
    spec.dim = yaml->dim;
    spec.seed = yaml->seed;
    spec.init = (Anthill__InitKind)yaml->init;
    spec.init_scale = float_of(yaml->init_scale);
    spec.optimizer = &optimizer;
    spec.consistency = (Anthill__ConsistencyMode)yaml->consistency;
    spec.staleness = yaml->staleness;
    spec.compensate = yaml->compensate;
    spec.rows_max = yaml->rows_max;
    spec.bytes_max = yaml->bytes_max;
    spec.storage = (Anthill__StorageKind)yaml->storage;
    spec.admit_after = yaml->admit_after;
    spec.evict = (Anthill__EvictKind)yaml->evict;
    spec.evict_seconds = yaml->evict_seconds;
    spec.versioned = yaml->versioned;
    spec.n_tensors = yaml->tensors_count;
    Anthill__TensorSpec *tensors = calloc(spec.n_tensors + 1, sizeof *tensors);
    spec.tensors = calloc(spec.n_tensors + 1, sizeof(Anthill__TensorSpec *));
    enum status status = STATUS_NOMEM;
    if (tensors != NULL && spec.tensors != NULL) {
        tensors_from_yaml(yaml, tensors, spec.tensors);
        status = table_spec_check(&spec, error);
        if (status != STATUS_OK) status = error_wrap(error, STATUS_CORRUPT, "table spec");
    }
    if (status == STATUS_OK) {
        table->full = yaml->full;
        table->rows = yaml->rows;
        table->deleted = yaml->deleted;
        table->spec = wire_copy(&spec.base);
        if (table->spec == NULL) status = STATUS_NOMEM;
    }
    free(tensors);
    free(spec.tensors);
    return status == STATUS_NOMEM ? error_set(error, status, "no memory for a table's spec")
                                  : status;
}

/* ---- a part ---- */

enum status part_manifest_write(const char *path, const struct part_manifest *manifest,
                                struct error *error)
{
    size_t count = manifest->table_count;
    struct entry_texts files = {0};
    struct yaml_table *tables = calloc(count + 1, sizeof *tables);
    struct table_texts *texts = calloc(count + 1, sizeof *texts);
    enum status status = entry_texts_init(&files, manifest->files, manifest->file_count);
    if (tables == NULL || texts == NULL) status = STATUS_NOMEM;
    for (size_t i = 0; status == STATUS_OK && i < count; i++)
        status = table_to_yaml(&manifest->tables[i], &tables[i], &texts[i]);
    if (status == STATUS_OK) {
        char base_checksum[MANIFEST_CHECKSUM_BYTES];
        snprintf(base_checksum, sizeof base_checksum, "%016" PRIx64, manifest->base_checksum);
        struct yaml_part yaml = {.format = FORMAT,
                                 .step = manifest->step,
                                 .server = manifest->server,
                                 .shard = manifest->shard,
                                 .base = manifest->base,
                                 .base_xxh3 = base_checksum,
                                 .tables = tables,
                                 .tables_count = manifest->table_count,
                                 .files = files.yaml,
                                 .files_count = manifest->file_count};
        status = yaml_save(path, &manifest_part_schema, &yaml, false, error);
    } else {
        status = error_set(error, status, "no memory for %s", path);
    }
    for (size_t i = 0; texts != NULL && i < count; i++) {
        free(texts[i].tensors);
        free(texts[i].yaml_tensors);
    }
    free(texts);
    free(tables);
    entry_texts_deinit(&files);
    return status;
}

static enum status part_from_yaml(const char *path, const struct yaml_part *yaml,
                                  struct part_manifest *manifest, struct error *error)
{
    if (yaml->format != FORMAT) {
        return error_set(error, STATUS_CORRUPT, "%s: format %u; %u expected", path, yaml->format,
                         FORMAT);
    }
    manifest->step = yaml->step;
    manifest->server = yaml->server;
    manifest->shard = yaml->shard;
    manifest->base = yaml->base;
    if (!checksum_of(yaml->base_xxh3, &manifest->base_checksum) ||
        (yaml->base >= yaml->step && yaml->base != 0)) {
        return error_set(error, STATUS_CORRUPT, "%s: bad base %" PRIu64 " with checksum \"%s\"",
                         path, yaml->base, yaml->base_xxh3);
    }
    manifest->tables = calloc(yaml->tables_count + (size_t)1, sizeof *manifest->tables);
    if (manifest->tables == NULL) return error_set(error, STATUS_NOMEM, "%s", path);
    for (uint32_t i = 0; i < yaml->tables_count; i++) {
        enum status status = table_from_yaml(&yaml->tables[i], &manifest->tables[i], error);
        if (status != STATUS_OK) return error_wrap(error, status, "%s", path);
        manifest->table_count++;
    }
    manifest->file_count = yaml->files_count;
    return entries_read(path, yaml->files, yaml->files_count, &manifest->files, error);
}

enum status part_manifest_read(const char *path, struct part_manifest *manifest,
                               struct error *error)
{
    *manifest = (struct part_manifest){0};
    char *text = NULL;
    size_t bytes = 0;
    struct yaml_part *yaml = NULL;
    enum status status = file_read_all(path, MANIFEST_BYTES_MAX, &text, &bytes, error);
    if (status != STATUS_OK) return status;
    status = yaml_load(path, text, bytes, &manifest_part_schema, &yaml, error);
    if (status == STATUS_OK) status = part_from_yaml(path, yaml, manifest, error);
    if (status != STATUS_OK) part_manifest_deinit(manifest);
    yaml_free(&manifest_part_schema, yaml);
    free(text);
    return status;
}

void part_manifest_deinit(struct part_manifest *manifest)
{
    for (uint32_t i = 0; i < manifest->table_count; i++)
        anthill__table_spec__free_unpacked(manifest->tables[i].spec, NULL);
    free(manifest->tables);
    free(manifest->files);
    *manifest = (struct part_manifest){0};
}

/* ---- a whole checkpoint ---- */

enum status step_manifest_write(const char *path, const struct step_manifest *manifest,
                                struct error *error)
{
    struct entry_texts parts = {0};
    enum status status = entry_texts_init(&parts, manifest->parts, manifest->part_count);
    if (status == STATUS_OK) {
        struct yaml_step yaml = {.format = FORMAT,
                                 .step = manifest->step,
                                 .base = manifest->base,
                                 .parts = parts.yaml,
                                 .parts_count = manifest->part_count};
        status = yaml_save(path, &manifest_step_schema, &yaml, true, error);
    } else {
        status = error_set(error, status, "no memory for %s", path);
    }
    entry_texts_deinit(&parts);
    return status;
}

/* Checks the seal at the end of text[bytes]. */
static enum status check_seal(const char *path, const char *text, size_t bytes, struct error *error)
{
    const size_t seal_bytes = sizeof SEAL - 1 + MANIFEST_CHECKSUM_BYTES;
    char expected[64];
    if (bytes >= seal_bytes) {
        uint64_t checksum = checksum_bytes(text, bytes - seal_bytes);
        snprintf(expected, sizeof expected, SEAL "%016" PRIx64 "\n", checksum);
        if (memcmp(text + bytes - seal_bytes, expected, seal_bytes) == 0) return STATUS_OK;
    }
    return error_set(error, STATUS_CORRUPT,
                     "%s: its last line is not the checksum of what is before it", path);
}

enum status step_manifest_read(const char *path, struct step_manifest *manifest,
                               struct error *error)
{
    *manifest = (struct step_manifest){0};
    char *text = NULL;
    size_t bytes = 0;
    struct yaml_step *yaml = NULL;
    enum status status = file_read_all(path, MANIFEST_BYTES_MAX, &text, &bytes, error);
    if (status != STATUS_OK) return status;
    status = check_seal(path, text, bytes, error);
    if (status == STATUS_OK) {
        status = yaml_load(path, text, bytes, &manifest_step_schema, &yaml, error);
    }
    if (status == STATUS_OK && yaml->format != FORMAT) {
        status = error_set(error, STATUS_CORRUPT, "%s: format %u; %u expected", path, yaml->format,
                           FORMAT);
    }
    if (status == STATUS_OK) {
        manifest->step = yaml->step;
        manifest->base = yaml->base;
        manifest->part_count = yaml->parts_count;
        status = entries_read(path, yaml->parts, yaml->parts_count, &manifest->parts, error);
    }
    if (status != STATUS_OK) step_manifest_deinit(manifest);
    yaml_free(&manifest_step_schema, yaml);
    free(text);
    return status;
}

void step_manifest_deinit(struct step_manifest *manifest)
{
    free(manifest->parts);
    *manifest = (struct step_manifest){0};
}
