"""The ECTicket protocol, pure: bytes in, values out, and the other way round.

Theory of operation
===================

ECTicket is four questions over HTTPS (`endpoints`), each asked and answered in the same *envelope* (`envelope`): a JSON
object that names the merchant, carries a time, and holds the real message encrypted in `Data` and signed in
`CheckMacValue`. Between a value of ours and the bytes on the wire lie five steps, one module each:

    IssueRequest ──to_payload──> {"MerchantID": …}          issue, query_issue_result, query_item_info, order_detail
                 ──write_json──> compact ASCII JSON text    json_text
                 ──encode──────> percent-encoded text       encoding
                 ──encrypt─────> `Data`                     cipher     AES-128-CBC, PKCS#7, base64
                 ──check_mac───> `CheckMacValue`            checksum   SHA-256 over the lower-cased encoded text

and back again for an answer. Three things make this harder than it looks, and each shapes a module.

*Which percent-encoder?* The checksum is taken over percent-encoded text, and ECPay's servers, their documents and other
people's clients have been seen using four different encoders. They disagree on seven characters: space ! * ' ( ) ~ .
So we send texts in which none of the seven occurs (`json_text` writes them as JSON's own \\u00XX), which get the same
checksum from every encoder, and we accept answers under any of the four (`checksum`), saying which one it was.

*What does the checksum protect?* Only the decrypted text, and that without regard to letter case, because the formula
lower-cases it. MerchantID, Timestamp and TransCode of the envelope are not covered. A changed bit of `Data` garbles
16 bytes of the text and is refused; a changed TransCode can at worst turn an answer into "not accepted".

*What can be believed?* An answer is opened in a fixed order: JSON, TransCode, decryption, checksum, JSON again.
Whatever fails raises an `EnvelopeError`, and nothing else is ever raised on received bytes, however broken. The
payload's fields are then read by `from_payload` of the endpoint's reply: leniently (absent, null and "" are one; 1 and
"1" are one), but a documented field of another type is an `UnreadableReply` and never a guess.

Before anything is sent, `rules` holds each request against every field rule of the specification and answers with
`Violation`s; it tells the shape of a customer's data and never the data.

This room knows no clock, no network and no settings: time and keys are arguments. Keys live in `credentials`, which
shows them to no `repr`, no error and no pickle.
"""
