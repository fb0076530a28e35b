#include "graph/importers/word_index.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "graph/node_index.h"

#define NO_COLUMN UINT32_MAX

struct word_count {
    uint32_t word, count;
};

struct weight {
    uint32_t column;
    float value;
};

struct word_index {
    struct node_index *words;
    uint32_t *documents_of; /* [words] how many documents have the word */
    uint32_t *columns_of;   /* [words] after choosing */
    uint32_t *chosen;       /* [columns] words */
    uint32_t chosen_count;
    uint32_t words_capacity;
    uint64_t *starts; /* [documents + 1] into counts */
    uint32_t document_count, documents_capacity;
    struct word_count *counts; /* words of all documents, each once a document */
    uint64_t count_capacity;
    struct weight *row;
    uint32_t *row_columns;
    float *row_values;
    uint32_t row_capacity;
};

static void *grow(void *memory, uint64_t count, size_t item_bytes)
{
    memory = realloc(memory, count * item_bytes);
    CHECK(memory != NULL);
    return memory;
}

struct word_index *word_index_create(void)
{
    struct word_index *index = calloc(1, sizeof *index);
    CHECK(index != NULL);
    index->words = node_index_create(true);
    index->documents_capacity = 1024;
    index->starts = grow(NULL, index->documents_capacity + 1u, sizeof *index->starts);
    index->starts[0] = 0;
    return index;
}

void word_index_destroy(struct word_index *index)
{
    if (index == NULL) return;
    node_index_destroy(index->words);
    free(index->documents_of);
    free(index->columns_of);
    free(index->chosen);
    free(index->starts);
    free(index->counts);
    free(index->row);
    free(index->row_columns);
    free(index->row_values);
    free(index);
}

static bool is_letter(unsigned char c)
{
    return c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void word_add(struct word_index *index, const char *word, size_t bytes)
{
    const uint64_t first = index->starts[index->document_count];
    uint64_t *end = &index->starts[index->document_count + 1];
    const uint32_t number = node_index_add_name(index->words, word, bytes);
    CHECK(number != NODE_NONE);
    if (number >= index->words_capacity) {
        uint32_t capacity = index->words_capacity == 0 ? 4096 : 2 * index->words_capacity;
        index->documents_of = grow(index->documents_of, capacity, sizeof(uint32_t));
        memset(index->documents_of + index->words_capacity, 0,
               (capacity - index->words_capacity) * sizeof(uint32_t));
        index->words_capacity = capacity;
    }
    for (uint64_t i = first; i < *end; i++) {
        if (index->counts[i].word == number) {
            index->counts[i].count++;
            return;
        }
    }
    if (*end == index->count_capacity) {
        index->count_capacity = index->count_capacity == 0 ? 4096 : 2 * index->count_capacity;
        index->counts = grow(index->counts, index->count_capacity, sizeof *index->counts);
    }
    index->counts[(*end)++] = (struct word_count){.word = number, .count = 1};
    index->documents_of[number]++;
}

void word_index_add(struct word_index *index, const char *text, size_t bytes)
{
    CHECK(index->chosen == NULL);
    if (index->document_count == index->documents_capacity) {
        index->documents_capacity *= 2;
        index->starts = grow(index->starts, index->documents_capacity + 1u, sizeof *index->starts);
    }
    index->starts[index->document_count + 1] = index->starts[index->document_count];
    char *lower = grow(NULL, bytes + 1, 1);
    for (size_t at = 0; at < bytes;) {
        size_t length = 0, letters = 0;
        for (; at < bytes && is_letter((unsigned char)text[at]); at++) {
            unsigned char c = (unsigned char)text[at];
            /* A character of several bytes is one letter: bytes after its first do not count. */
            letters += (c & 0xc0) != 0x80;
            lower[length++] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
        }
        if (letters >= 2) word_add(index, lower, length);
        at += length == 0;
    }
    free(lower);
    index->document_count++;
}

struct ranked {
    uint32_t word, documents;
    const char *text;
    size_t bytes;
};

static int ranked_compare(const void *a, const void *b)
{
    const struct ranked *left = a, *right = b;
    if (left->documents != right->documents) return left->documents > right->documents ? -1 : 1;
    size_t shorter = left->bytes < right->bytes ? left->bytes : right->bytes;
    int order = memcmp(left->text, right->text, shorter);
    return order != 0 ? order : (left->bytes > right->bytes) - (left->bytes < right->bytes);
}

uint32_t word_index_choose(struct word_index *index, uint32_t words_max)
{
    const uint32_t count = node_index_count(index->words);
    struct ranked *ranked = grow(NULL, count + 1u, sizeof *ranked);
    for (uint32_t word = 0; word < count; word++) {
        ranked[word] = (struct ranked){.word = word, .documents = index->documents_of[word]};
        ranked[word].text = node_index_name(index->words, word, &ranked[word].bytes);
    }
    qsort(ranked, count, sizeof *ranked, ranked_compare);
    index->chosen_count = count < words_max ? count : words_max;
    index->chosen = grow(NULL, index->chosen_count + 1u, sizeof *index->chosen);
    index->columns_of = grow(NULL, count + 1u, sizeof *index->columns_of);
    for (uint32_t rank = 0; rank < count; rank++) {
        index->columns_of[ranked[rank].word] = rank < index->chosen_count ? rank : NO_COLUMN;
        if (rank < index->chosen_count) index->chosen[rank] = ranked[rank].word;
    }
    free(ranked);
    return index->chosen_count;
}

static int weight_compare(const void *a, const void *b)
{
    const struct weight *left = a, *right = b;
    return (left->column > right->column) - (left->column < right->column);
}

uint32_t word_index_row(struct word_index *index, uint32_t document, const uint32_t **columns,
                        const float **values)
{
    CHECK(index->chosen != NULL && document < index->document_count);
    const uint64_t first = index->starts[document], end = index->starts[document + 1];
    if (end - first > index->row_capacity) {
        index->row_capacity = (uint32_t)(end - first);
        index->row = grow(index->row, index->row_capacity, sizeof *index->row);
        index->row_columns = grow(index->row_columns, index->row_capacity, sizeof(uint32_t));
        index->row_values = grow(index->row_values, index->row_capacity, sizeof(float));
    }
    uint32_t count = 0;
    for (uint64_t i = first; i < end; i++) {
        const uint32_t word = index->counts[i].word;
        if (index->columns_of[word] == NO_COLUMN) continue;
        double idf = log((1.0 + index->document_count) / (1.0 + index->documents_of[word])) + 1.0;
        index->row[count++] = (struct weight){.column = index->columns_of[word],
                                              .value = (float)(index->counts[i].count * idf)};
    }
    if (count > 1) qsort(index->row, count, sizeof *index->row, weight_compare);
    for (uint32_t i = 0; i < count; i++) {
        index->row_columns[i] = index->row[i].column;
        index->row_values[i] = index->row[i].value;
    }
    *columns = index->row_columns;
    *values = index->row_values;
    return count;
}

const char *word_index_word(const struct word_index *index, uint32_t column, size_t *bytes)
{
    CHECK(column < index->chosen_count);
    return node_index_name(index->words, index->chosen[column], bytes);
}
