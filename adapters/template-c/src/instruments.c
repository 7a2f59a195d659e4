/* Function 2 of 4: what is traded. */
#include "instruments.h"
#include <stdlib.h>
#include <string.h>

static string_t pair(bytes_t base, bytes_t quote) {
    string_t symbol = {allocated(base.len + 1 + quote.len), base.len + 1 + quote.len};
    memcpy(symbol.ptr, base.ptr, base.len);
    symbol.ptr[base.len] = '-';
    memcpy(symbol.ptr + base.len + 1, quote.ptr, quote.len);
    return symbol;
}

/* The field `tick` or `step`. */
static bool read_step(const object_t *listed, const char *key, number_t *step) {
    cursor_t cursor;
    return object_value(listed, key, &cursor) && read_amount(&cursor, key, step);
}

static bool read_instrument(cursor_t *cursor, instrument_t *instrument) {
    object_t listed;
    bytes_t base, quote, name, status;
    number_t tick, step;
    if (!object_parse(cursor, &listed) || !object_text(&listed, "base", &base) ||
        !object_text(&listed, "quote", &quote) || !object_text(&listed, "name", &name) ||
        !read_step(&listed, "tick", &tick) || !read_step(&listed, "step", &step) ||
        !object_text(&listed, "status", &status)) {
        return false;
    }
    *instrument = (instrument_t){
        .symbol = pair(base, quote),
        .venue_symbol = copied(name),
        .market_type = MARKETPRISM_ADAPTER_TYPES_MARKET_TYPE_SPOT,
        .base = copied(base),
        .quote = copied(quote),
        .price_scale = tick.scale,
        .quantity_scale = step.scale,
        .tick_size = {.is_some = true, .val = {tick.mantissa, tick.scale}},
        .step_size = {.is_some = true, .val = {step.mantissa, step.scale}},
        .trading = bytes_equal(status, "open"),
    };
    return true;
}

static void warn_of_row(bytes_t row, const char *expected) {
    enum { SHOWN = 120 };
    char shown[SHOWN + 1];
    size_t length = row.len < SHOWN ? row.len : SHOWN;
    memcpy(shown, row.ptr, length);
    shown[length] = 0;
    string_t line = joined("listed instrument left out, since it cannot be read: expected ", expected, " in ", shown, NULL);
    marketprism_adapter_log_log(MARKETPRISM_ADAPTER_LOG_LEVEL_WARN, &line);
    venue_adapter_string_free(&line);
}

static bool read_list(cursor_t *cursor, instruments_t *listed) {
    size_t room = 0;
    bool first = true, more;
    if (!expect(cursor, '[', "an array")) {
        return false;
    }
    for (;;) {
        instrument_t instrument;
        if (!next(cursor, ']', &first, &more)) {
            return false;
        }
        if (!more) {
            return true;
        }
        cursor_t row = *cursor;
        if (!read_instrument(cursor, &instrument)) {
            /* Left out, and named: a row that cannot be read costs nothing else. */
            const char *expected = cursor->reading->fault_what;
            *cursor = row;
            if (!skip(cursor)) {
                return false;
            }
            warn_of_row((bytes_t){row.at, (size_t)(cursor->at - row.at)}, expected);
            continue;
        }
        if (listed->len == room) {
            room = room == 0 ? 64 : room * 2;
            listed->ptr = realloc(listed->ptr, room * sizeof(instrument_t));
            if (listed->ptr == NULL) {
                abort();
            }
        }
        listed->ptr[listed->len++] = instrument;
    }
}

static int compared(string_t one, string_t other) {
    size_t shorter = one.len < other.len ? one.len : other.len;
    int order = memcmp(one.ptr, other.ptr, shorter);
    return order != 0 ? order : (one.len > other.len) - (one.len < other.len);
}

/* Symbols in their order; of equal ones that which trades comes first. */
static int order(const instrument_t *one, const instrument_t *other) {
    int symbols = compared(one->symbol, other->symbol);
    if (symbols != 0) {
        return symbols;
    }
    if (one->trading != other->trading) {
        return one->trading ? -1 : 1;
    }
    return compared(one->venue_symbol, other->venue_symbol);
}

static bool is_named(const feed_t *feed, string_t symbol) {
    for (size_t index = 0; index < feed->symbols.len; index++) {
        if (compared(feed->symbols.ptr[index], symbol) == 0) {
            return true;
        }
    }
    return false;
}

/* Sinks the element at `start` to its place in the heap of `count` elements. */
static void sink(instrument_t *heap, size_t start, size_t count) {
    for (;;) {
        size_t child = 2 * start + 1;
        if (child >= count) {
            return;
        }
        if (child + 1 < count && order(&heap[child], &heap[child + 1]) < 0) {
            child++;
        }
        if (order(&heap[start], &heap[child]) >= 0) {
            return;
        }
        instrument_t moved = heap[start];
        heap[start] = heap[child];
        heap[child] = moved;
        start = child;
    }
}

static void sort(instruments_t *list) {
    for (size_t start = list->len / 2; start > 0; start--) {
        sink(list->ptr, start - 1, list->len);
    }
    for (size_t last = list->len; last > 1; last--) {
        instrument_t largest = list->ptr[0];
        list->ptr[0] = list->ptr[last - 1];
        list->ptr[last - 1] = largest;
        sink(list->ptr, 0, last - 1);
    }
}

/* The feed's part, sorted, each symbol once; what is left out is freed. */
static void select(const feed_t *feed, instruments_t *list) {
    sort(list);
    size_t kept = 0;
    for (size_t index = 0; index < list->len; index++) {
        instrument_t one = list->ptr[index];
        bool chosen = feed->symbols.len == 0 ? one.trading : is_named(feed, one.symbol);
        if (chosen && kept > 0 && compared(list->ptr[kept - 1].symbol, one.symbol) == 0) {
            chosen = false;
        }
        if (chosen) {
            list->ptr[kept++] = one;
        } else {
            marketprism_adapter_types_instrument_free(&one);
        }
    }
    list->len = kept;
}

static bool check_symbols(const feed_t *feed, const instruments_t *list, refusal_t *refusal) {
    for (size_t wanted = 0; wanted < feed->symbols.len; wanted++) {
        bool found = false;
        for (size_t index = 0; index < list->len && !found; index++) {
            found = compared(list->ptr[index].symbol, feed->symbols.ptr[wanted]) == 0;
        }
        if (!found) {
            string_t value = copied(bytes_of(feed->symbols.ptr[wanted]));
            return refuse(refusal, "symbols", value, "a symbol that template_spot lists, such as BTC-USD");
        }
    }
    return list->len > 0 || refuse(refusal, "symbols", joined("[]", NULL), "an instrument of template_spot that trades");
}

bool list_instruments(const feed_t *feed, bytes_t body, instruments_t *list, refusal_t *refusal) {
    reading_t reading;
    object_t answer;
    cursor_t cursor;
    *list = (instruments_t){NULL, 0};
    bool good = object_whole(&reading, body.ptr, body.len, &answer) &&
                object_value(&answer, "instruments", &cursor) && read_list(&cursor, list);
    forget_texts();
    if (!good) {
        char digits[11];
        string_t value = joined("byte ", number_text((uint32_t)reading.fault_at, digits), " of a list", NULL);
        refuse(refusal, "instruments", value, reading.fault_what);
    } else {
        select(feed, list);
        good = check_symbols(feed, list, refusal);
    }
    if (!good || list->len == 0) {
        for (size_t index = 0; index < list->len; index++) {
            marketprism_adapter_types_instrument_free(&list->ptr[index]);
        }
        free(list->ptr);
        *list = (instruments_t){NULL, 0};
    }
    return good;
}
