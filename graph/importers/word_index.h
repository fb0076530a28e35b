/* Words of short texts as weighted features: term frequency times inverse document frequency over
 * the most frequent words. source: Manning, Raghavan, Schuetze 2008, chapter 6, with the smoothed
 * idf ln((1 + N) / (1 + df)) + 1. */
#ifndef ANTHILL_GRAPH_IMPORTERS_WORD_INDEX_H
#define ANTHILL_GRAPH_IMPORTERS_WORD_INDEX_H

#include <stddef.h>
#include <stdint.h>

struct word_index;

struct word_index *word_index_create(void);
void word_index_destroy(struct word_index *index);

/* Counts the words of the next document, which is number 0, 1, 2, ... A word is two letters or
 * more; ASCII letters become lower case, and every character beyond ASCII counts as a letter. */
void word_index_add(struct word_index *index, const char *text, size_t bytes);

/* Chooses the `words_max` words of the most documents (of equal ones the first by alphabet) as
 * columns 0, 1, 2, ... Returns how many there are. No documents may follow. */
uint32_t word_index_choose(struct word_index *index, uint32_t words_max);

/* The weights of a document, ascending by column; borrowed until the next call. */
uint32_t word_index_row(struct word_index *index, uint32_t document, const uint32_t **columns,
                        const float **values);

/* The word of a column; `bytes` long. Borrowed. */
const char *word_index_word(const struct word_index *index, uint32_t column, size_t *bytes);

#endif
