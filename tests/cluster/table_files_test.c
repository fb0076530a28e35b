/* Tables exported to files, imported from them and deleted by them, over real sockets. */
#include "cluster_fixture.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>

#include "common/npy.h"
#include "common/rng.h"
#include "ps/table_export.h"
#include "ps/table_files.h"

/* Three tables that share their keys; the second one takes many requests. */
enum { TABLES = 3, KEYS = 9000 };

static const char *const names[TABLES] = {"users", "items", "tags / all \"of\" them"};
static const uint32_t dims[TABLES] = {16, 600, 1};

struct files {
    struct cluster cluster;
    struct client *client;
};

static void start(struct files *files, bool tcp)
{
    *files = (struct files){.cluster = {.shards_per_server = 2}};
    cluster_start(&files->cluster, tcp);
    files->client = cluster_client(&files->cluster, false, AWAIT_NS);
}

static void end(struct files *files)
{
    client_close(files->client);
    cluster_end(&files->cluster);
}

static void path_of(const struct files *files, const char *name, char path[FILE_PATH_BYTES])
{
    assert_int_equal(file_path(path, NULL, "%s/%s", files->cluster.folder, name), STATUS_OK);
}

/* Each value follows from table, key and column. */
static float expected_value(unsigned table, uint64_t key, uint32_t column)
{
    return (float)(int32_t)(rng_mix(key + table) % 1000) + (float)column;
}

static void push_all(struct files *files, unsigned table, const uint64_t *keys)
{
    uint32_t dim = dims[table], number = cluster_sparse(files->client, names[table], dim);
    float *grads = malloc((size_t)KEYS * dim * sizeof *grads);
    for (uint32_t i = 0; i < KEYS; i++)
        for (uint32_t column = 0; column < dim; column++)
            grads[(size_t)i * dim + column] = -expected_value(table, keys[i], column);
    cluster_push(files->client, number, keys, KEYS, grads);
    free(grads);
}

static void fill_keys(uint64_t *keys)
{
    for (uint64_t i = 0; i < KEYS; i++)
        keys[i] = rng_mix(i);
}

static void open_array(struct npy *array, const char *dir, const char *name, enum npy_type type,
                       unsigned dimensions, uint64_t rows, uint64_t cols)
{
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    const uint64_t shape[2] = {rows, cols};
    assert_int_equal(file_path(path, NULL, "%s/%s.npy", dir, name), STATUS_OK);
    if (npy_open_as(array, path, type, dimensions, shape, &error) != STATUS_OK)
        fail_msg("%s", error.text);
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

/* The folder has every one of keys[KEYS] once, each with its values. */
static void check_export(const char *dir, unsigned table, const uint64_t *keys)
{
    struct npy listed, values;
    uint32_t dim = dims[table];
    open_array(&listed, dir, "keys", NPY_U64, 1, KEYS, 0);
    open_array(&values, dir, "values", NPY_F32, 2, KEYS, dim);
    const uint64_t *found = listed.data;
    const float *rows = values.data;
    for (uint64_t i = 0; i < KEYS; i++)
        for (uint32_t column = 0; column < dim; column++)
            assert_true(rows[i * dim + column] == expected_value(table, found[i], column));
    uint64_t *sorted[2] = {malloc(KEYS * sizeof *found), malloc(KEYS * sizeof *found)};
    memcpy(sorted[0], found, KEYS * sizeof *found);
    memcpy(sorted[1], keys, KEYS * sizeof *found);
    qsort(sorted[0], KEYS, sizeof *found, compare);
    qsort(sorted[1], KEYS, sizeof *found, compare);
    assert_memory_equal(sorted[0], sorted[1], KEYS * sizeof *found);
    free(sorted[0]);
    free(sorted[1]);
    npy_close(&listed);
    npy_close(&values);
}

static void export_well(struct files *files, const char *name, const char *dir,
                        struct table_export *result)
{
    struct error error = {0};
    if (table_export(files->client, name, dir, -1, result, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    assert_true(result->seconds >= 0);
}

/* Another run gets the rows of the first by way of files. */
static void exported_rows_are_imported_elsewhere(bool tcp)
{
    struct files first, second;
    static uint64_t keys[KEYS];
    fill_keys(keys);
    start(&first, tcp);
    for (unsigned table = 0; table < TABLES; table++)
        push_all(&first, table, keys);
    client_close(first.client); /* one that does not know the tables */
    first.client = cluster_client(&first.cluster, false, AWAIT_NS);
    start(&second, !tcp);
    for (unsigned table = 0; table < TABLES; table++) {
        char name[16], dir[FILE_PATH_BYTES], again[FILE_PATH_BYTES];
        snprintf(name, sizeof name, "new/%u//", table);
        path_of(&first, name, dir);
        struct table_export exported;
        export_well(&first, names[table], dir, &exported);
        assert_false(exported.dense);
        assert_int_equal(exported.rows, KEYS);
        assert_int_equal(exported.dim, dims[table]);
        check_export(dir, table, keys);

        cluster_sparse(second.client, names[table], dims[table]);
        struct table_import imported;
        struct error error = {0};
        if (table_files_import(second.client, names[table], dir, -1, &imported, &error) !=
            STATUS_OK)
            fail_msg("%s", error.text);
        assert_int_equal(imported.rows, KEYS);
        assert_int_equal(imported.duplicates, 0);
        path_of(&second, "again", again);
        assert_int_equal(file_dir_remove(again, NULL), STATUS_OK);
        export_well(&second, names[table], again, &exported);
        check_export(again, table, keys);
    }
    end(&second);
    end(&first);
}

static void rows_go_from_run_to_run_over_ipc(void **state)
{
    (void)state;
    exported_rows_are_imported_elsewhere(false);
}

static void rows_go_from_run_to_run_over_tcp(void **state)
{
    (void)state;
    exported_rows_are_imported_elsewhere(true);
}

static void write_array(const char *dir, const char *name, enum npy_type type, unsigned dimensions,
                        uint64_t rows, uint64_t cols, const void *data)
{
    char path[FILE_PATH_BYTES];
    const uint64_t shape[2] = {rows, cols};
    assert_int_equal(file_dir_create(dir, NULL), STATUS_OK);
    assert_int_equal(file_path(path, NULL, "%s/%s.npy", dir, name), STATUS_OK);
    assert_int_equal(npy_write(path, type, dimensions, shape, data, NULL), STATUS_OK);
}

static uint64_t row_count(struct files *files, const char *name)
{
    uint32_t table;
    uint64_t rows;
    assert_int_equal(client_open_table(files->client, name, &table, &rows, NULL), STATUS_OK);
    return rows;
}

static void the_last_row_of_a_key_counts(void **state)
{
    (void)state;
    struct files files;
    start(&files, false);
    uint32_t table = cluster_sparse(files.client, "rows", 2);
    const uint64_t keys[5] = {9, 4, 9, 7, 9};
    const float values[5][2] = {{1, 2}, {3, 4}, {5, 6}, {7, 8}, {9, 10}};
    char dir[FILE_PATH_BYTES];
    path_of(&files, "twice", dir);
    write_array(dir, "keys", NPY_U64, 1, 5, 0, keys);
    write_array(dir, "values", NPY_F32, 2, 5, 2, values);
    struct table_import imported;
    assert_int_equal(table_files_import(files.client, "rows", dir, -1, &imported, NULL), STATUS_OK);
    assert_int_equal(imported.rows, 3);
    assert_int_equal(imported.duplicates, 2);
    float rows[3][2];
    cluster_pull(files.client, table, (const uint64_t[]){4, 7, 9}, 3, &rows[0][0]);
    assert_true(rows[0][0] == 3 && rows[1][1] == 8 && rows[2][0] == 9 && rows[2][1] == 10);
    assert_int_equal(row_count(&files, "rows"), 3);
    end(&files);
}

static void keys_in_a_file_are_deleted_and_counted(void **state)
{
    (void)state;
    struct files files;
    static uint64_t keys[KEYS];
    fill_keys(keys);
    start(&files, false);
    push_all(&files, 0, keys);
    keys[0] = keys[1]; /* one stands twice, */
    keys[2] = 12345;   /* and one is not there */
    char dir[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    path_of(&files, "gone", dir);
    path_of(&files, "gone/some.npy", path);
    write_array(dir, "some", NPY_U64, 1, KEYS / 2, 0, keys);
    struct table_deletion deletion;
    assert_int_equal(table_files_delete(files.client, names[0], path, -1, &deletion, NULL),
                     STATUS_OK);
    assert_int_equal(deletion.keys, KEYS / 2);
    assert_int_equal(deletion.deleted, KEYS / 2 - 2);
    assert_int_equal(row_count(&files, names[0]), KEYS - (KEYS / 2 - 2));
    /* The row of a key that was deleted begins anew. */
    uint32_t table = cluster_sparse(files.client, names[0], dims[0]);
    float rows[2][16];
    cluster_pull(files.client, table, (const uint64_t[]){keys[1], keys[KEYS - 1]}, 2, &rows[0][0]);
    assert_true(rows[0][3] == 0.0f && rows[1][3] == expected_value(0, keys[KEYS - 1], 3));
    end(&files);
}

static void tensors_are_files_with_their_names(void **state)
{
    (void)state;
    enum { ROWS = 300, COLS = 301 };
    struct files files;
    start(&files, false);
    Anthill__OptimizerSpec optimizer = ANTHILL__OPTIMIZER_SPEC__INIT;
    optimizer.rate = 1.0f;
    Anthill__TensorSpec tensor[2] = {ANTHILL__TENSOR_SPEC__INIT, ANTHILL__TENSOR_SPEC__INIT};
    Anthill__TensorSpec *tensors[2] = {&tensor[0], &tensor[1]};
    tensor[0].name = "layer-0/sage: weight";
    tensor[0].rows = ROWS;
    tensor[0].cols = COLS;
    tensor[1].name = "bias";
    tensor[1].rows = 1;
    tensor[1].cols = 3;
    Anthill__TableSpec spec = ANTHILL__TABLE_SPEC__INIT;
    spec.name = "model";
    spec.kind = ANTHILL__TABLE_KIND__TABLE_DENSE;
    spec.optimizer = &optimizer;
    spec.n_tensors = 2;
    spec.tensors = tensors;
    uint32_t model;
    uint64_t ticket;
    assert_int_equal(client_table(files.client, &spec, &model, NULL), STATUS_OK);
    static float grads[ROWS * COLS + 3];
    for (unsigned i = 0; i < ROWS * COLS + 3; i++)
        grads[i] = -(float)i;
    assert_int_equal(client_push_dense(files.client, model, grads, 1, &ticket, NULL), STATUS_OK);
    assert_int_equal(client_wait(files.client, ticket, NULL), STATUS_OK);
    char dir[FILE_PATH_BYTES];
    path_of(&files, "model", dir);
    struct table_export exported;
    export_well(&files, "model", dir, &exported);
    assert_true(exported.dense);
    assert_int_equal(exported.tensors, 2);
    assert_int_equal(exported.floats, ROWS * COLS + 3);
    struct npy weight, bias;
    open_array(&weight, dir, "layer-0.sage: weight", NPY_F32, 2, ROWS, COLS);
    open_array(&bias, dir, "bias", NPY_F32, 2, 1, 3);
    for (unsigned i = 0; i < ROWS * COLS; i++)
        assert_true(((const float *)weight.data)[i] == (float)i);
    assert_true(((const float *)bias.data)[2] == (float)(ROWS * COLS + 2));
    npy_close(&weight);
    npy_close(&bias);
    export_well(&files, "model", dir, &exported); /* in its place */
    tensor[1].name = "layer-0.sage: weight";
    spec.name = "twins";
    struct error error = {0};
    assert_int_equal(client_table(files.client, &spec, &model, NULL), STATUS_OK);
    assert_int_equal(table_export(files.client, "twins", dir, -1, &exported, &error),
                     STATUS_INVALID);
    assert_non_null(strstr(error.text, "would both be layer-0.sage: weight.npy"));
    struct table_import imported;
    assert_int_equal(table_files_import(files.client, "model", dir, -1, &imported, &error),
                     STATUS_INVALID);
    assert_non_null(strstr(error.text, "table \"model\" is dense"));
    end(&files);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void expect_no_import(struct files *files, const char *dir, enum status status,
                             const char *const *pieces)
{
    struct table_import imported;
    struct error error = {0};
    assert_int_equal(table_files_import(files->client, "rows", dir, -1, &imported, &error), status);
    for (; *pieces != NULL; pieces++)
        if (strstr(error.text, *pieces) == NULL) fail_msg("%s", error.text);
    assert_int_equal(row_count(files, "rows"), 0);
}

#define PIECES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void files_that_do_not_fit_are_named(void **state)
{
    (void)state;
    struct files files;
    start(&files, false);
    cluster_sparse(files.client, "rows", 2);
    const uint64_t keys[3] = {1, 2, 3};
    const double doubles[3][2] = {{1, 2}, {3, 4}, {5, 6}};
    float values[3][2] = {{1, 2}, {3, 4}, {5, 6}};
    char dir[FILE_PATH_BYTES];
    path_of(&files, "wrong", dir);
    expect_no_import(&files, dir, STATUS_NOT_FOUND, PIECES("wrong/keys.npy"));
    write_array(dir, "keys", NPY_I64, 1, 3, 0, keys);
    expect_no_import(&files, dir, STATUS_CORRUPT, PIECES("wrong/keys.npy", "i64", "u64"));
    write_array(dir, "keys", NPY_U64, 1, 3, 0, keys);
    expect_no_import(&files, dir, STATUS_NOT_FOUND, PIECES("wrong/values.npy"));
    write_array(dir, "values", NPY_F64, 2, 3, 2, doubles);
    expect_no_import(&files, dir, STATUS_CORRUPT, PIECES("wrong/values.npy", "f64", "f32"));
    write_array(dir, "values", NPY_F32, 2, 2, 3, values);
    expect_no_import(&files, dir, STATUS_CORRUPT, PIECES("wrong/values.npy", "(2, 3)", "(3, 2)"));
    write_array(dir, "values", NPY_F32, 2, 2, 2, values);
    expect_no_import(&files, dir, STATUS_CORRUPT, PIECES("wrong/values.npy", "(2, 2)"));
    values[1][0] = INFINITY;
    write_array(dir, "values", NPY_F32, 2, 3, 2, values);
    expect_no_import(&files, dir, STATUS_CORRUPT,
                     PIECES("wrong/values.npy", "row 1, column 0 is inf"));
    char path[FILE_PATH_BYTES];
    struct table_deletion deletion;
    struct error error = {0};
    path_of(&files, "wrong/values.npy", path);
    assert_int_equal(table_files_delete(files.client, "rows", path, -1, &deletion, &error),
                     STATUS_CORRUPT);
    assert_non_null(strstr(error.text, "wrong/values.npy: f32"));
    end(&files);
}

static void an_unknown_table_is_answered_by_those_there_are(void **state)
{
    (void)state;
    struct files files;
    start(&files, false);
    struct table_export exported;
    struct error error = {0};
    char dir[FILE_PATH_BYTES];
    path_of(&files, "unknown", dir);
    assert_int_equal(table_export(files.client, "row", dir, -1, &exported, &error),
                     STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "there is no table \"row\"; there are none"));
    cluster_sparse(files.client, "rows", 2);
    cluster_sparse(files.client, "users", 2);
    assert_int_equal(table_export(files.client, "row", dir, -1, &exported, &error),
                     STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "there is no table \"row\"; those there are: rows, users"));
    assert_false(file_exists(dir));
    end(&files);
}

static void only_an_earlier_export_is_replaced(void **state)
{
    (void)state;
    struct files files;
    start(&files, false);
    uint32_t table = cluster_sparse(files.client, "rows", 1);
    char dir[FILE_PATH_BYTES], note[FILE_PATH_BYTES];
    path_of(&files, "export", dir);
    path_of(&files, "export/note.txt", note);
    struct table_export exported;
    struct npy keys;
    export_well(&files, "rows", dir, &exported);
    open_array(&keys, dir, "keys", NPY_U64, 1, 0, 0);
    npy_close(&keys);
    cluster_push(files.client, table, (const uint64_t[]){5}, 1, (const float[]){1});
    export_well(&files, "rows", dir, &exported);
    open_array(&keys, dir, "keys", NPY_U64, 1, 1, 0);
    npy_close(&keys);
    struct error error = {0};
    assert_int_equal(file_write_atomic(note, "mine", 4, NULL), STATUS_OK);
    assert_int_equal(table_export(files.client, "rows", dir, -1, &exported, &error), STATUS_DENIED);
    assert_non_null(strstr(error.text, "note.txt"));
    assert_true(file_exists(note));
    end(&files);
}

/* Exports "users", and demands that nothing of it is there. */
static void expect_no_export(struct files *files, enum status status, const char *piece)
{
    char dir[FILE_PATH_BYTES], partial[FILE_PATH_BYTES];
    path_of(files, "export", dir);
    path_of(files, "export.partial", partial);
    struct table_export exported;
    struct error error = {0};
    assert_int_equal(table_export(files->client, "users", dir, -1, &exported, &error), status);
    if (strstr(error.text, piece) == NULL) fail_msg("%s", error.text);
    assert_false(file_exists(dir));
    assert_false(file_exists(partial));
}

static void an_export_that_fails_leaves_nothing(void **state)
{
    (void)state;
    struct files files;
    static uint64_t keys[KEYS];
    fill_keys(keys);
    start(&files, true);
    push_all(&files, 0, keys);
    client_close(files.client);
    files.client = cluster_client(&files.cluster, false, NS_PER_S / 2);
    /* The disk is full while pulls are under way. */
    struct rlimit whole, little;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &whole), 0);
    little = (struct rlimit){.rlim_cur = 100000, .rlim_max = whole.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    expect_no_export(&files, STATUS_IO, "values.npy");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &whole), 0);
    cluster_end_server(&files.cluster, 1);
    expect_no_export(&files, STATUS_UNAVAILABLE, "server 1");
    end(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_go_from_run_to_run_over_ipc),
        cmocka_unit_test(rows_go_from_run_to_run_over_tcp),
        cmocka_unit_test(the_last_row_of_a_key_counts),
        cmocka_unit_test(keys_in_a_file_are_deleted_and_counted),
        cmocka_unit_test(tensors_are_files_with_their_names),
        cmocka_unit_test(files_that_do_not_fit_are_named),
        cmocka_unit_test(an_unknown_table_is_answered_by_those_there_are),
        cmocka_unit_test(only_an_earlier_export_is_replaced),
        cmocka_unit_test(an_export_that_fails_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, cluster_setup, cluster_teardown);
}
