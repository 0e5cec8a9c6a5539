using Mesh.Core.Workloads;
using Mesh.Testing;

namespace Mesh.Core.Configuration;

/// <summary>Files that are hostile, or written in haste.</summary>
public sealed class LocalConfigurationFuzzTests
{
    [Fact]
    public void A_valid_file_that_was_damaged_is_read_or_refused_as_a_configuration()
    {
        var random = new Random(60_606);
        const string Alphabet = "{}[]:,-!&*#'\"\n \t~|>%@0aZ/.\0\u00e9";
        var valid = LocalConfigurationTests.Everything + "\n";
        for (var round = 0; round < 3_000; round++)
        {
            var text = new System.Text.StringBuilder(random.Next(2) == 0 ? valid : LocalConfigurationTests.Example);
            for (var changes = random.Next(1, 6); changes > 0; changes--)
            {
                var at = random.Next(text.Length);
                switch (random.Next(4))
                {
                    case 0:
                        text[at] = Alphabet[random.Next(Alphabet.Length)];
                        break;
                    case 1:
                        text.Insert(at, Alphabet[random.Next(Alphabet.Length)]);
                        break;
                    case 2:
                        text.Remove(at, Math.Min(random.Next(1, 40), text.Length - at));
                        break;
                    default:
                        text.Insert(at, text.ToString(at, Math.Min(random.Next(1, 80), text.Length - at)));
                        break;
                }

                if (text.Length == 0)
                {
                    break;
                }
            }

            try
            {
                LocalConfiguration.Parse(text.ToString());
            }
            catch (ConfigurationException e)
            {
                Assert.NotEmpty(e.Diagnostics);
            }
            catch (Exception e)
            {
                Assert.Fail($"round {round}: {e}\n{text}");
            }
        }
    }

    // YamlDotNet throws InvalidOperationException here (Scanner.ScanPlainScalar): what a brace that was forgotten looks like.
    [Theory]
    [InlineData("- {\ne")]
    [InlineData("workloads:\n- {namespace: ns,\nservices: []\n")]
    public void A_brace_that_is_not_closed_is_a_fault_of_the_file(string yaml) =>
        Assert.NotEmpty(Assert.Throws<ConfigurationException>(() => LocalConfiguration.Parse(yaml, "f.yaml")).Diagnostics);

    [Fact]
    public async Task An_edit_that_forgets_a_brace_does_not_end_the_watching()
    {
        var path = Path.Combine(Path.GetTempPath(), $"mesh-{Guid.NewGuid():N}.yaml");
        await File.WriteAllTextAsync(path, LocalConfigurationTests.Example);
        var mesh = new MeshState();
        await using var file = LocalConfigurationFile.Open(path, mesh);
        await File.WriteAllTextAsync(path, "workloads:\n- {namespace: ns,\nservices: []\n");
        await Eventually.Until("the fault is told", () => file.LastError is not null);
        await File.WriteAllTextAsync(path, "services: []\n");
        await Eventually.Until("the mended file is read", () => mesh.Current.WorkloadCount == 0);
        File.Delete(path);
    }

    [Fact]
    public void An_alias_of_nothing_is_told_at_its_place()
    {
        var fault = Assert.Throws<ConfigurationException>(() => LocalConfiguration.Parse("workloads: []\nservices: *nowhere", "f.yaml"));
        Assert.Equal((2, 11), (fault.Diagnostics[0].Line, fault.Diagnostics[0].Column));
    }

    [Theory]
    [InlineData("80")]
    [InlineData("10.1")]
    [InlineData("10.0.1")]
    [InlineData("010.0.0.1")]
    [InlineData("0x0a.0.0.1")]
    [InlineData("fe80::1%1")]
    public void An_address_in_a_form_of_the_last_century_is_no_address(string address)
    {
        Assert.Throws<ConfigurationException>(() => LocalConfiguration.Parse($"workloads: [{{namespace: ns, workloadIps: ['{address}']}}]"));
        Assert.False(AddressRange.TryParse(address, out _));
    }

    [Fact]
    public async Task A_file_that_is_deleted_right_after_opening_is_told()
    {
        var path = Path.Combine(Path.GetTempPath(), $"mesh-{Guid.NewGuid():N}.yaml");
        await File.WriteAllTextAsync(path, LocalConfigurationTests.Example);
        await using var file = LocalConfigurationFile.Open(path, new MeshState());
        File.Delete(path);
        await Eventually.Until("the loss is told", () => file.LastError is not null);
    }
}
