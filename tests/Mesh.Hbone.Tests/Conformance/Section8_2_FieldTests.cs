using static Mesh.Hbone.Conformance.Messages;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 8.2: names and values of fields.</summary>
public sealed class Section8_2_FieldTests
{
    private const string Names = "A field name MUST NOT contain 0x00 to 0x20, upper case, 0x7f to 0xff, nor a colon but as the first of a pseudo-header; else the message is malformed.";
    private const string Values = "A field value MUST NOT contain NUL, LF or CR; else the message is malformed.";
    private const string Edges = "A field value MUST NOT start or end with SP or HTAB; else the message is malformed.";
    private const string Connection = "A message with connection-specific fields MUST be treated as malformed.";
    private const string Te = "TE MUST NOT contain any value other than \"trailers\"; else the message is malformed.";

    private static readonly ConformanceTable Cases =
    [
        .. Malformed("8.2", "a name in upper case", "Names are lower case when the message is made; upper case is malformed.", ("A", "b")),
        .. Malformed("8.2.1", "a name with one letter in upper case", Names, ("baggagE", "b")),
        .. Malformed("8.2.1", "an empty name", "A field name has at least one character (RFC 9110, section 5.1).", ("", "b")),
        .. Malformed("8.2.1", "a name with NUL", Names, ("a\0", "b")),
        .. Malformed("8.2.1", "a name with LF", Names, ("a\nb", "c")),
        .. Malformed("8.2.1", "a name with CR", Names, ("a\rb", "c")),
        .. Malformed("8.2.1", "a name with a space", Names, ("a b", "c")),
        .. Malformed("8.2.1", "a name with HTAB", Names, ("a\tb", "c")),
        .. Malformed("8.2.1", "a name with DEL", Names, ("a\x7f", "c")),
        .. Malformed("8.2.1", "a name with octet 0x80", Names, ("a\u0080", "c")),
        .. Malformed("8.2.1", "a name with octet 0xFF", Names, ("a\u00ff", "c")),
        .. Malformed("8.2.1", "a name with a colon", Names, ("a:b", "c")),
        .. Malformed("8.2.1", "a value with NUL", Values, ("a", "b\0c")),
        .. Malformed("8.2.1", "a value with LF", Values, ("a", "b\nc")),
        .. Malformed("8.2.1", "a value with CR", Values, ("a", "b\rc")),
        .. Malformed("8.2.1", "a value that ends in CR LF", Values, ("a", "b\r\n")),
        .. Malformed("8.2.1", "a value that begins with a space", Edges, ("a", " b")),
        .. Malformed("8.2.1", "a value that begins with HTAB", Edges, ("a", "\tb")),
        .. Malformed("8.2.1", "a value that ends with a space", Edges, ("a", "b ")),
        .. Malformed("8.2.1", "a value that ends with HTAB", Edges, ("a", "b\t")),
        .. Malformed("8.2.1", "a value of one space", Edges, ("a", " ")),
        .. Malformed("8.2.1", "a value with another control character", "Values SHOULD be validated as RFC 9110, section 5.5, defines them: no control characters.", ("a", "b\u0001c")),
        .. WellFormed("8.2.1", "an empty value", "A field value may be empty.", ("a", "")),
        .. WellFormed("8.2.1", "a value with spaces and HTAB within", "SP and HTAB may stand within a value.", ("a", "b c\td")),
        .. WellFormed("8.2.1", "a value with octets above 0x7F", "Octets 0x80 to 0xFF may stand in a value (RFC 9110, section 5.5).", ("a", "b\u0080\u00ff")),
        .. WellFormed("8.2.1", "a name with every sign that is allowed", "A name is a token (RFC 9110, section 5.6.2).", ("!#$%&'*+-.^_`|~09az", "b")),
        .. WellFormed("8.2.1", "the same name twice", "A name may appear more than once (RFC 9110, section 5.3).", ("a", "b"), ("a", "c")),
        .. Malformed("8.2.2", "connection", Connection, ("connection", "close")),
        .. Malformed("8.2.2", "an empty connection", Connection, ("connection", "")),
        .. Malformed("8.2.2", "proxy-connection", Connection, ("proxy-connection", "keep-alive")),
        .. Malformed("8.2.2", "keep-alive", Connection, ("keep-alive", "timeout=5")),
        .. Malformed("8.2.2", "transfer-encoding", Connection, ("transfer-encoding", "chunked")),
        .. Malformed("8.2.2", "upgrade", Connection, ("upgrade", "h2c")),
        .. Malformed("8.2.2", "te: gzip", Te, ("te", "gzip")),
        .. Malformed("8.2.2", "te: trailers, gzip", Te, ("te", "trailers, gzip")),
        .. WellFormed("8.2.2", "te: trailers", "TE may be present with the value \"trailers\"; in a response, where it means nothing, we let it pass.", ("te", "trailers")),
        .. WellFormed("8.2.3", "cookie in crumbs", "The cookie header may be split; to join it is the application's matter.", ("cookie", "a=b"), ("cookie", "c=d")),
    ];

    public static TheoryData<string, Ours, string> Rules => Cases.Names;

    [Theory]
    [MemberData(nameof(Rules))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
