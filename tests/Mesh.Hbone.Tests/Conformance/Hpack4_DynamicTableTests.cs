using static Mesh.Hbone.Conformance.FieldBlocks;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 7541, section 4: the size of the dynamic table, and what leaves it.</summary>
public sealed class Hpack4_DynamicTableTests
{
    private const string Beginning = "A change of the size MUST occur at the beginning of a field block.";
    private const string Limit = "A size MUST NOT be greater than the limit of SETTINGS_HEADER_TABLE_SIZE, ours of 4,096.";
    private const string Evicted = "Entries are evicted from the end of the table until its size is within its maximum.";
    private const string Gone = "What is evicted is in the table no more: its index MUST be treated as a decoding error (section 2.3.3).";

    // Size updates: to 0; to 34, which is one entry of a one-octet name and value; to 68; to 4,096; to 4,097.
    private const string To0 = "20";
    private const string To34 = "3f03";
    private const string To68 = "3f25";
    private const string To4096 = "3fe11f";
    private const string To4097 = "3fe21f";
    private static readonly FieldBlock TwoEntries = new("", "40016101624001630164", ("a", "b"), ("c", "d"));

    // A name of one octet and a value of 4,063: with 32 octets that is the whole table. A value of 4,064 is one more.
    private static readonly string Filling = "400179" + "7fe01e" + string.Concat(Enumerable.Repeat("7a", 4063));
    private static readonly string TooLarge = "400179" + "7fe11e" + string.Concat(Enumerable.Repeat("7a", 4064));

    private static readonly ConformanceTable Cases =
    [
        Decodes("7541 4.1", "an entry of 4,096 octets", "The size of an entry is that of its name and its value and 32; one of the size of the table fits.", new FieldBlock("", Filling, ("y", new string('z', 4063))), new FieldBlock("", "be", ("y", new string('z', 4063)))) with { Options = Roomy() },
        Fails("7541 4.1", "an entry of 4,096 octets, and the one before it", Gone, "bf", new FieldBlock("", "4001610162", ("a", "b")), new FieldBlock("", Filling, ("y", new string('z', 4063)))) with { Options = Roomy() },
        Decodes("7541 4.1", "two entries in a table for two", "The size of the table is the sum of the sizes of its entries, uncompressed.", new FieldBlock(To68, "40016101624001630164bfbe", ("a", "b"), ("c", "d"), ("a", "b"), ("c", "d"))),
        Fails("7541 4.1", "three entries in a table for two, and the first of them", Gone, "c0", new FieldBlock(To68, "400161016240016301644001650166", ("a", "b"), ("c", "d"), ("e", "f"))),
        Decodes("7541 4.1", "an entry whose strings are Huffman-coded", "Sizes are counted without Huffman coding: of three entries of 34 octets two are left.", new FieldBlock(To68, "40811f8193" + "4001630164" + "4001650166" + "bebf", ("a", "d"), ("c", "d"), ("e", "f"), ("e", "f"), ("c", "d"))),

        Decodes("7541 4.2", "a size update at the beginning", Beginning, new FieldBlock(To4096, "")),
        Decodes("7541 4.2", "two size updates at the beginning", "A size that has changed twice is announced as the smallest and the last.", new FieldBlock(To0 + To4096, "4001610162be", ("a", "b"), ("a", "b"))),
        Decodes("7541 4.2", "three size updates at the beginning", "An encoder needs two at most; that a decoder has to mind a third is not said, and we do not.", new FieldBlock(To0 + To34 + To4096, "")),
        Fails("7541 4.2", "a size update behind a field", Beginning, "82" + To0),
        Fails("7541 4.2", "a size update between fields", Beginning, "82" + To4096 + "84"),
        Fails("7541 4.2", "a size update behind a literal", Beginning, "0001610162" + To34),
        Fails("7541 4.2", "a size update over the limit", Limit, To4097),
        Fails("7541 4.2", "a size update far over the limit", Limit, "3fe1ffff3f"),
        Fails("7541 4.2", "a good size update, and one over the limit", Limit, To0 + To4097),

        Decodes("7541 4.3", "a size update that has room for one of two entries", Evicted, TwoEntries, new FieldBlock(To34, "be", ("c", "d"))),
        Fails("7541 4.3", "a size update that has room for one of two entries, and the other", Gone, To34 + "bf", TwoEntries),
        Fails("7541 4.3", "a size update to 0, and an entry", Gone, To0 + "be", TwoEntries),
        Fails("7541 4.3", "a size update to 0 and back, and an entry", "An update to 0 empties the table; a larger one does not bring it back.", To0 + To4096 + "be", TwoEntries),
        Decodes("7541 4.3", "a size update to the same size", "Nothing is evicted when everything fits.", TwoEntries, new FieldBlock(To4096, "bfbe", ("a", "b"), ("c", "d"))),
        Decodes("7541 4.3", "a size update to 0, and a literal to be kept", "A table of size 0 keeps nothing; that is not an error.", new FieldBlock(To0, "4001610162", ("a", "b"))),

        Decodes("7541 4.4", "an entry that pushes out the oldest", Evicted, new FieldBlock(To68, "40016101624001630164" + "4001650166" + "bfbe", ("a", "b"), ("c", "d"), ("e", "f"), ("c", "d"), ("e", "f"))),
        Decodes("7541 4.4", "an entry whose name is that of the one it pushes out", "A new entry can refer to the name of one that is evicted by it; the name must be taken first.", new FieldBlock(To34, "4001610162" + "7e0163" + "be", ("a", "b"), ("a", "c"), ("a", "c"))),
        Decodes("7541 4.4", "an entry larger than the table", "It is not an error to add an entry larger than the table; it empties it.", new FieldBlock(To34, "4001610162" + "400163026465", ("a", "b"), ("c", "de")), new FieldBlock("", "4001650166be", ("e", "f"), ("e", "f"))),
        Fails("7541 4.4", "an entry larger than the table, and the one before it", "An entry larger than the table empties it.", "be", new FieldBlock(To34, "4001610162" + "400163026465", ("a", "b"), ("c", "de"))),
        Fails("7541 4.4", "an entry of 4,097 octets, and the one before it", "An entry larger than the table empties it.", "be", new FieldBlock("", "4001610162", ("a", "b")), new FieldBlock("", TooLarge, ("y", new string('z', 4064)))) with { Options = Roomy() },
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    private static HboneOptions Roomy()
    {
        var options = Http2.Http2Peer.SmallOptions();
        options.MaxHeaderListSize = 64 * 1024;
        return options;
    }
}
