/* Function 4 of 4: what a frame means. */
#include "contract.h"
#include "text.h"
#include <string.h>

typedef marketprism_adapter_types_payload_t payload_t;
typedef marketprism_adapter_types_remark_t remark_t;

/* The instrument of a message; false, with a note, when the feed asks for neither it nor its data. */
static bool wanted(const loaded_t *loaded, output_t *output, bytes_t name, data_type_t type, uint32_t *found) {
    if (!wants(&loaded->feed, type)) {
        output_ignored(output, MARKETPRISM_ADAPTER_TYPES_IGNORED_OTHER_DATA_TYPE);
        return false;
    }
    // Of equal names the last one counts, as in the Rust SDK's table.
    for (size_t index = loaded->instruments.len; index > 0; index--) {
        string_t known = loaded->instruments.ptr[index - 1].venue_symbol;
        if (known.len == name.len && memcmp(known.ptr, name.ptr, name.len) == 0) {
            *found = (uint32_t)(index - 1);
            return true;
        }
    }
    output_ignored(output, MARKETPRISM_ADAPTER_TYPES_IGNORED_OTHER_INSTRUMENT);
    return false;
}

/* The venue's times are milliseconds. */
static bool read_time(const object_t *message, int64_t *micros) {
    cursor_t cursor;
    if (!object_value(message, "time", &cursor) || !read_integer(&cursor, "time", micros)) {
        return false;
    }
    if (!multiply(micros, 1000)) {
        return fault(&cursor, "time");
    }
    return cursor.at == cursor.end || fault(&cursor, "end of the text");
}

static bool equal_ignoring_case(bytes_t text, const char *lower) {
    if (text.len != strlen(lower)) {
        return false;
    }
    for (size_t index = 0; index < text.len; index++) {
        uint8_t byte = text.ptr[index];
        if ((byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte) != (uint8_t)lower[index]) {
            return false;
        }
    }
    return true;
}

/* The taker's side. */
static bool read_side(const object_t *message, uint8_t *side) {
    cursor_t start, cursor;
    bytes_t text;
    if (!object_value(message, "side", &start)) {
        return false;
    }
    cursor = start;
    if (!read_text(&cursor, "side", &text)) {
        return false;
    }
    bool buy = equal_ignoring_case(text, "buy");
    if (!buy && !equal_ignoring_case(text, "sell")) {
        return fault(&start, "side");
    }
    *side = buy ? MARKETPRISM_ADAPTER_TYPES_SIDE_BUY : MARKETPRISM_ADAPTER_TYPES_SIDE_SELL;
    return true;
}

static bool read_trade(const loaded_t *loaded, output_t *output, const object_t *message) {
    payload_t payload = {.tag = MARKETPRISM_ADAPTER_TYPES_PAYLOAD_TRADE};
    marketprism_adapter_types_trade_t *trade = &payload.val.trade;
    number_t price, quantity;
    bytes_t name;
    if (!object_text(message, "name", &name)) {
        return false;
    }
    if (!wanted(loaded, output, name, TRADE, &trade->instrument)) {
        return true;
    }
    trade->id.tag = MARKETPRISM_ADAPTER_TYPES_TRADE_ID_NUMBER;
    if (!read_time(message, &trade->time_us) || !object_unsigned(message, "id", &trade->id.val.number) ||
        !object_amount(message, "price", &price) || !object_amount(message, "quantity", &quantity) ||
        !read_side(message, &trade->side)) {
        return false;
    }
    trade->price = (marketprism_adapter_types_decimal_t){price.mantissa, price.scale};
    trade->quantity = (marketprism_adapter_types_decimal_t){quantity.mantissa, quantity.scale};
    output_event(output, &payload);
    return true;
}

/* `["price","quantity"]`: what is finer than tick or step is malformed, never rounded. */
static bool read_level(cursor_t *cursor, output_t *output, const instrument_t *instrument) {
    int64_t price, quantity;
    if (!expect(cursor, '[', "a level") ||
        !read_amount_at(cursor, "a price", instrument->price_scale, &price) || !expect(cursor, ',', "`,`") ||
        !read_amount_at(cursor, "a quantity", instrument->quantity_scale, &quantity) ||
        !expect(cursor, ']', "the end of a level")) {
        return false;
    }
    output_level(output, price, quantity);
    return true;
}

static bool read_levels(const object_t *message, const char *key, output_t *output, const instrument_t *instrument,
                        uint32_t *count, bool *given) {
    cursor_t cursor;
    bool first = true, more;
    *count = 0;
    if (!object_is_set(message, key)) {
        return true;
    }
    *given = true;
    if (!object_value(message, key, &cursor) || !expect(&cursor, '[', "an array")) {
        return false;
    }
    for (;;) {
        if (!next(&cursor, ']', &first, &more)) {
            return false;
        }
        if (!more) {
            return true;
        }
        if (!read_level(&cursor, output, instrument)) {
            return false;
        }
        ++*count;
    }
}

static bool read_book(const loaded_t *loaded, output_t *output, const object_t *message, uint8_t change) {
    bool snapshot = change == MARKETPRISM_ADAPTER_TYPES_BOOK_CHANGE_SNAPSHOT;
    payload_t payload = {.tag = MARKETPRISM_ADAPTER_TYPES_PAYLOAD_BOOK};
    marketprism_adapter_types_book_t *book = &payload.val.book;
    bytes_t name;
    if (!object_text(message, "name", &name)) {
        return false;
    }
    if (!wanted(loaded, output, name, ORDERBOOK, &book->instrument)) {
        return true;
    }
    const instrument_t *instrument = &loaded->instruments.ptr[book->instrument];
    book->change = change;
    book->time_us.is_some = true;
    book->price_scale = instrument->price_scale;
    book->quantity_scale = instrument->quantity_scale;
    // A frame is far shorter than 4 GiB.
    book->levels_at = (uint32_t)output->normalized.levels.len;
    // A side that is missing or null has no levels.
    bool given = false;
    if (!read_levels(message, "bids", output, instrument, &book->bids, &given) ||
        !read_levels(message, "asks", output, instrument, &book->asks, &given)) {
        return false;
    }
    if (!given) {
        cursor_t bids;
        return object_value(message, "bids", &bids) && fault(&bids, "bids");
    }
    if (!read_time(message, &book->time_us.val) ||
        !object_integer(message, snapshot ? "id" : "first", &book->first_id) ||
        !object_integer(message, snapshot ? "id" : "last", &book->last_id)) {
        return false;
    }
    output_event(output, &payload);
    return true;
}

/* What a note quotes of a frame, cut: a text longer than an edge allows would cost the instance. */
static string_t quoted(bytes_t text) {
    enum { QUOTED_MOST = 1000 };
    if (text.len <= QUOTED_MOST) {
        return copied(text);
    }
    size_t end = QUOTED_MOST;
    while ((text.ptr[end] & 0xc0) == 0x80) {
        end--;
    }
    string_t cut = {allocated(end + 3), end + 3};
    memcpy(cut.ptr, text.ptr, end);
    memcpy(cut.ptr + end, "...", 3);
    return cut;
}

static bool read_error(output_t *output, const object_t *message) {
    bytes_t code, text;
    if (!object_text(message, "code", &code) || !object_text(message, "text", &text)) {
        return false;
    }
    remark_t remark = {.tag = MARKETPRISM_ADAPTER_TYPES_REMARK_VENUE_ERROR};
    remark.val.venue_error.code = quoted(code);
    remark.val.venue_error.text = quoted(text);
    output_note(output, &remark);
    return true;
}

static bool read_closing(output_t *output, const object_t *message) {
    bytes_t reason;
    if (!object_text(message, "reason", &reason)) {
        return false;
    }
    remark_t remark = {.tag = MARKETPRISM_ADAPTER_TYPES_REMARK_CLOSING};
    remark.val.closing = quoted(reason);
    output_note(output, &remark);
    return true;
}

bool normalize_frame(const loaded_t *loaded, output_t *output, reading_t *reading, bytes_t frame) {
    object_t message;
    bytes_t type;
    if (!object_whole(reading, frame.ptr, frame.len, &message) || !object_text(&message, "type", &type)) {
        return false;
    }
    if (bytes_equal(type, "trade")) {
        return read_trade(loaded, output, &message);
    }
    if (bytes_equal(type, "snapshot")) {
        return read_book(loaded, output, &message, MARKETPRISM_ADAPTER_TYPES_BOOK_CHANGE_SNAPSHOT);
    }
    if (bytes_equal(type, "delta")) {
        return read_book(loaded, output, &message, MARKETPRISM_ADAPTER_TYPES_BOOK_CHANGE_DELTA);
    }
    if (bytes_equal(type, "error")) {
        return read_error(output, &message);
    }
    if (bytes_equal(type, "closing")) {
        return read_closing(output, &message);
    }
    if (bytes_equal(type, "subscribed") || bytes_equal(type, "unsubscribed")) {
        output_ignored(output, MARKETPRISM_ADAPTER_TYPES_IGNORED_ACKNOWLEDGEMENT);
    } else if (bytes_equal(type, "pong")) {
        output_ignored(output, MARKETPRISM_ADAPTER_TYPES_IGNORED_HEARTBEAT);
    } else {
        output_ignored(output, MARKETPRISM_ADAPTER_TYPES_IGNORED_UNKNOWN_KIND);
    }
    return true;
}
