"""The ECTicket protocol as pure code: bytes to values, and values to bytes.

Theory of operation
===================

ECTicket has four endpoints over HTTPS (`endpoints`). Requests and answers have the same *envelope* (`envelope`): a JSON
object that names the merchant, carries a time, and holds the real message encrypted in `Data` and signed in
`CheckMacValue`. Between a request object and the bytes on the wire are four steps, one module each:

    IssueRequest ──to_payload──> {"MerchantID": …}          issue, query_issue_result, query_item_info, order_detail
         ──write_encoded_json──> percent-encoded JSON       json_text
                 ──encrypt─────> `Data`                     cipher     AES-128-CBC, PKCS#7, base64
                 ──check_mac───> `CheckMacValue`            checksum   SHA-256 over the lower-cased encoded text

and back again for an answer, with `encoding` to decode the text. Three problems shape the modules.

*Which percent-encoder?* The checksum is taken over percent-encoded text, and ECPay's servers, their documents and other
people's clients have been seen using four different encoders. They disagree on seven characters: space ! * ' ( ) ~ .
So the adapter sends texts without these seven (`json_text` writes them as JSON's own \\u00XX), which have the same
checksum under every encoder. It accepts answers under any of the four (`checksum`) and reports which one it was.

*What does the checksum protect?* Only the decrypted text, and not its letter case, because the formula lower-cases
it. MerchantID, Timestamp and TransCode of the envelope are not covered. A changed bit of `Data` corrupts
16 bytes of the text and is rejected; a changed TransCode can at worst turn an answer into "not accepted".

*What can be trusted?* An answer is opened in a fixed order: JSON, TransCode, decryption, checksum, JSON again.
Each failure raises an `EnvelopeError`; received bytes never raise anything else, however broken they are. The payload's
fields are then read by `from_payload` of the endpoint's reply: leniently (absent, null and "" are one; 1 and
"1" are one), but a documented field of another type is an `UnreadableReply` and never a guess.

Before a request is sent, `rules` checks it against every field rule of the specification and returns `Violation`s,
which describe the shape of a customer's data and never contain the data.

The package uses no clock, no network and no settings: time and keys are arguments. Keys are in `credentials`, which
hides them from `repr`, errors and pickles.
"""
