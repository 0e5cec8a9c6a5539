using static Mesh.Hbone.Conformance.FieldBlocks;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 7541, section 5: integers and strings.</summary>
public sealed class Hpack5_PrimitiveTests
{
    private const string TooLarge = "Integers that exceed the limits of an implementation, in value or length, MUST be treated as decoding errors.";
    private const string Padding = "Padding is at most 7 bits, the beginning of the code of EOS: ones; else it MUST be treated as a decoding error.";
    private const string EndOfString = "A Huffman-coded string that contains EOS MUST be treated as a decoding error.";

    private static readonly ConformanceTable Cases =
    [
        Decodes("7541 5.1", "an integer that fits its prefix", "A value below 2^N-1 is in the prefix.", new FieldBlock("", "00016103626364", ("a", "bcd"))),
        Decodes("7541 5.1", "an integer of 2^N-1", "2^N-1 is a prefix of ones, and a 0.", new FieldBlock("", "000161" + "7f00" + Text(127), ("a", new string('z', 127)))),
        Decodes("7541 5.1", "an integer with two further octets", "Further octets have 7 bits each, the least significant first.", new FieldBlock("", "000161" + "7fad01" + Text(300), ("a", new string('z', 300)))),
        Decodes("7541 5.1", "an integer with more octets than it needs", "Zeros at the end are allowed as far as an implementation's limits go.", new FieldBlock("", "000161" + "7f8000" + Text(127), ("a", new string('z', 127)))),
        Fails("7541 5.1", "an index of 2^32", TooLarge, "ff81ffffff0f"),
        Fails("7541 5.1", "an index of 2^64 and more", TooLarge, "ffffffffffffffffffffff7f"),
        Fails("7541 5.1", "an index with a thousand further octets", TooLarge, "ff" + string.Concat(Enumerable.Repeat("80", 1000)) + "00"),
        Fails("7541 5.1", "a length of 2^32", TooLarge, "000161" + "7f81ffffff0f" + "62"),
        Fails("7541 5.1", "a length of 2^31", TooLarge, "000161" + "7f81ffffff07" + "62"),
        Fails("7541 5.1", "a size update to 2^32", TooLarge, "3fe1ffffff0f"),
        Fails("7541 5.1", "an integer without an end", "An integer ends in an octet without the highest bit.", "ff8080"),

        Decodes("7541 5.2", "strings as they are", "A string is a length and its octets.", new FieldBlock("", "0003616263" + "03646566", ("abc", "def"))),
        Decodes("7541 5.2", "an empty value", "A length can be 0.", new FieldBlock("", "00016100", ("a", ""))),
        Decodes("7541 5.2", "an empty value, Huffman-coded", "A length can be 0, coded or not.", new FieldBlock("", "00016180", ("a", ""))),
        Decodes("7541 5.2", "strings that are Huffman-coded", "The highest bit of the length says that the octets are Huffman-coded (appendix C.4.3).", new FieldBlock("", "408825a849e95ba97d7f8925a849e95bb8e8b4bf", ("custom-key", "custom-value"))),
        Decodes("7541 5.2", "a code that ends with its octet", "Padding can have no bits.", new FieldBlock("", "000161" + "85" + "18c6318c63", ("a", "aaaaaaaa"))),
        Decodes("7541 5.2", "padding of 7 ones", Padding, new FieldBlock("", "000161" + "84" + "18c631ff", ("a", "aaaaa"))),
        Fails("7541 5.2", "padding of 8 ones", Padding, "000161" + "86" + "18c6318c63ff"),
        Fails("7541 5.2", "padding of 11 ones", Padding, "000161" + "82" + "1fff"),
        Fails("7541 5.2", "nothing but padding", Padding, "000161" + "81" + "ff"),
        Fails("7541 5.2", "padding of zeros", Padding, "000161" + "81" + "18"),
        Fails("7541 5.2", "padding with one zero", Padding, "000161" + "81" + "1e"),
        Fails("7541 5.2", "EOS", EndOfString, "000161" + "84" + "ffffffff"),
        Fails("7541 5.2", "EOS behind a letter", EndOfString, "000161" + "85" + "1fffffffff"),
        Fails("7541 5.2", "EOS in a name", EndOfString, "00" + "84" + "ffffffff" + "0162"),
        Fails("7541 5.2", "a string longer than the block", "A string ends within its block.", "000161" + "0a" + "62"),
        Fails("7541 5.2", "a Huffman-coded string longer than the block", "A string ends within its block.", "000161" + "8a" + "1f"),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    private static string Text(int length) => string.Concat(Enumerable.Repeat("7a", length));
}
